//! May one more stranger wait at the door? So many in all, and so many from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::login::lockout::source_of;

/// Connections that are not let in yet, in all.
const STRANGERS_MAX: usize = 1_000;
/// The same from one address (IPv6: one /64).
const STRANGERS_OF_SOURCE_MAX: usize = 100;
/// Connections of proxies that have not said yet for whom, in all.
const PROXIED_MAX: usize = 1_000;

#[derive(Default, Clone)]
pub struct Door(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    strangers: HashMap<IpAddr, usize>,
    proxied: usize,
}

/// Held until a stranger is let in or gone.
pub struct Place {
    door: Door,
    /// `None`: a proxy that has not said yet for whom it connects.
    source: Option<IpAddr>,
}

impl Door {
    pub fn enter(&self, ip: IpAddr) -> Option<Place> {
        let source = source_of(ip);
        let strangers = &mut self.inside().strangers;
        if strangers.values().sum::<usize>() >= STRANGERS_MAX {
            return None;
        }
        let count = strangers.entry(source).or_default();
        if *count >= STRANGERS_OF_SOURCE_MAX {
            return None;
        }
        *count += 1;
        Some(Place { door: self.clone(), source: Some(source) })
    }

    /// For a proxy, until it says for whom it connects: many people come from its address.
    pub fn enter_by_proxy(&self) -> Option<Place> {
        let proxied = &mut self.inside().proxied;
        if *proxied >= PROXIED_MAX {
            return None;
        }
        *proxied += 1;
        Some(Place { door: self.clone(), source: None })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inside = &mut *self.door.inside();
        let Some(source) = &self.source else {
            inside.proxied -= 1;
            return;
        };
        if let Some(count) = inside.strangers.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                inside.strangers.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others() {
        let door = Door::default();
        let ip = |text: &str| text.parse::<IpAddr>().ok().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let held: Vec<_> = (0..STRANGERS_OF_SOURCE_MAX).map(|_| door.enter(ip("203.0.113.9"))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(door.enter(ip("203.0.113.9")).is_none());
        assert!(door.enter(ip("203.0.113.10")).is_some());
        drop(held);
        assert!(door.enter(ip("203.0.113.9")).is_some());
    }

    #[test]
    fn proxies_that_say_nothing_take_no_place_of_people() {
        let door = Door::default();
        let held: Vec<_> = (0..PROXIED_MAX).map(|_| door.enter_by_proxy()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(door.enter_by_proxy().is_none());
        assert!(door.enter(IpAddr::from([203, 0, 113, 9])).is_some());
        drop(held);
        assert!(door.enter_by_proxy().is_some());
    }
}
