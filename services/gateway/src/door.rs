//! May one more stranger wait at the door? So many in all, and so many from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use events::login::lockout::source_of;

/// Connections that are not let in yet, in all.
const STRANGERS_MAX: usize = 1_000;
/// The same from one address (IPv6: one /64).
const STRANGERS_OF_SOURCE_MAX: usize = 100;

#[derive(Default, Clone)]
pub struct Door(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Held until a stranger is let in or gone.
pub struct Place {
    door: Door,
    source: IpAddr,
}

impl Door {
    pub fn enter(&self, ip: IpAddr) -> Option<Place> {
        let source = source_of(ip);
        let mut strangers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.values().sum::<usize>() >= STRANGERS_MAX {
            return None;
        }
        let count = strangers.entry(source).or_default();
        if *count >= STRANGERS_OF_SOURCE_MAX {
            return None;
        }
        *count += 1;
        Some(Place { door: self.clone(), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut strangers = self.door.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = strangers.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                strangers.remove(&self.source);
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
}
