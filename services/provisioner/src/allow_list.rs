//! Who may connect when two lists must both admit? The exact intersection of two sets of ranges.

use ipnet::IpNet;

/// Nobody connects from here: stands for "no address at all", because an empty list means everyone.
const NOBODY: &str = "255.255.255.255/32";

/// Empty lists admit everyone. The answer is sorted, without overlaps, the same for equal sets.
pub fn both(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    if one.is_empty() || other.is_empty() {
        return tidy(one.iter().chain(other).copied().collect());
    }
    // two ranges are disjoint, or one holds the other
    let shared = one.iter().flat_map(|a| {
        other.iter().filter_map(move |b| {
            if a.contains(b) {
                Some(*b)
            } else if b.contains(a) {
                Some(*a)
            } else {
                None
            }
        })
    });
    let shared = tidy(shared.collect());
    if shared.is_empty() { NOBODY.parse().into_iter().collect() } else { shared }
}

fn tidy(ranges: Vec<IpNet>) -> Vec<IpNet> {
    let ranges: Vec<IpNet> = ranges.iter().map(IpNet::trunc).collect();
    let mut ranges = IpNet::aggregate(&ranges);
    ranges.sort();
    ranges
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use events::env::allow_list::is_allowed;
    use std::net::IpAddr;

    fn list(ranges: &[&str]) -> Vec<IpNet> {
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_passes_exactly_when_both_lists_admit_it() {
        let lists = [
            list(&[]),
            list(&["10.0.0.0/8"]),
            list(&["10.1.0.0/16", "192.168.0.0/16", "2001:db8::/32"]),
            list(&["10.1.2.3/8", "2001:db8:1::/48", "192.168.7.7/32"]),
            list(&["172.16.0.0/12"]),
        ];
        let addresses: Vec<IpAddr> =
            ["10.1.2.3", "10.2.0.1", "192.168.7.7", "192.168.1.1", "172.16.0.1", "8.8.8.8"]
                .iter()
                .chain(&["2001:db8:1::1", "2001:db8:2::1", "::1", "::ffff:10.1.2.3"])
                .map(|ip| ip.parse().unwrap())
                .collect();
        for one in &lists {
            for other in &lists {
                let shared = both(one, other);
                assert_eq!(shared, both(other, one), "order does not matter");
                for ip in &addresses {
                    let expected = is_allowed(one, *ip) && is_allowed(other, *ip);
                    assert_eq!(
                        is_allowed(&shared, *ip),
                        expected,
                        "{ip} in {one:?} and {other:?}: {shared:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn disjoint_lists_admit_nobody() {
        assert_eq!(both(&list(&["10.0.0.0/8"]), &list(&["172.16.0.0/12"])), list(&[NOBODY]));
    }
}
