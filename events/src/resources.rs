//! How much of a machine? Exact quantities with three decimals, so that sums never drift.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A non-negative quantity in thousandths; a plain number in JSON (`0.5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Milli(u64);

impl Milli {
    /// The largest quantity anything is measured in: a million units.
    pub const MAX: Self = Self(1_000_000_000);

    pub const fn from_thousandths(thousandths: u64) -> Self {
        Self(thousandths)
    }

    pub const fn thousandths(self) -> u64 {
        self.0
    }

    /// `None` when negative, not finite, finer than a thousandth, or above [`Milli::MAX`].
    pub fn from_f64(number: f64) -> Option<Self> {
        let scaled = (number * 1000.0).round();
        let exact = (number * 1000.0 - scaled).abs() < 1e-6;
        if number.is_finite() && exact && (0.0..=Self::MAX.0 as f64).contains(&scaled) {
            Some(Self(scaled as u64))
        } else {
            None
        }
    }

    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl Serialize for Milli {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.as_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Milli {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Self::from_f64(number)
            .ok_or_else(|| de::Error::custom("must be between 0 and 1000000 with at most three decimals"))
    }
}

impl JsonSchema for Milli {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // no `multipleOf`: validators that reckon in binary fractions refuse 1.001 as a multiple of 0.001
        json_schema!({
            "type": "number",
            "minimum": 0,
            "maximum": 1_000_000,
            "description": "At most three decimals."
        })
    }
}

/// What one environment may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Cores.
    pub cpu: Milli,
    /// GiB.
    pub memory: Milli,
    /// Whole devices.
    #[serde(default)]
    pub gpu: u32,
    /// GiB of the persistent volume.
    #[serde(default)]
    pub storage: Milli,
}

impl Resources {
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
            gpu: self.gpu.saturating_add(other.gpu),
            storage: self.storage.saturating_add(other.storage),
        }
    }
}

/// The most a tenant may have in use; what is absent is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<u32>,
    /// Cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Milli>,
    /// GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Milli>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Milli>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact() {
        let tenth: Milli = serde_json::from_str("0.1").unwrap();
        assert_eq!(
            (0..10).fold(Milli::default(), |sum, _| sum.saturating_add(tenth)),
            serde_json::from_str("1").unwrap()
        );
        assert_eq!(serde_json::to_string(&tenth).unwrap(), "0.1");
        for wrong in ["-1", "0.0001", "1e12", "\"1\""] {
            assert!(serde_json::from_str::<Milli>(wrong).is_err(), "{wrong}");
        }
    }
}
