//! How does a figure read? Both sides of every round, their medians, and the ratio.

use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Run {
    pub ours: f64,
    pub theirs: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub name: String,
    pub unit: &'static str,
    pub ours: f64,
    pub theirs: f64,
    pub against: &'static str,
    /// The median of the rounds' own ratios: both sides of a round met the same machine.
    pub ratio: f64,
    pub goal: f64,
    pub better: Better,
    pub runs: Vec<Run>,
    /// Figures beside the comparison.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Report {
    pub fn new(
        name: impl Into<String>,
        unit: &'static str,
        against: &'static str,
        (better, goal): (Better, f64),
        runs: Vec<Run>,
    ) -> Self {
        let side = |pick: fn(&Run) -> f64| median(runs.iter().map(pick).collect());
        Self {
            name: name.into(),
            unit,
            ours: side(|run| run.ours),
            theirs: side(|run| run.theirs),
            against,
            ratio: side(|run| run.ours / run.theirs),
            goal,
            better,
            runs,
            more: Map::new(),
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    pub fn write(&self) -> anyhow::Result<()> {
        let folder = harness::programs::repository().join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.name));
        std::fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        let met = match self.better {
            Better::Higher => self.ratio >= self.goal,
            Better::Lower => self.ratio <= self.goal,
        };
        println!(
            "{}: ours {:.2} {unit}, theirs {:.2} {unit} ({}), ratio {:.2}, goal {} {}: {}",
            self.name,
            self.ours,
            self.theirs,
            self.against,
            self.ratio,
            if matches!(self.better, Better::Higher) { "at least" } else { "at most" },
            self.goal,
            if met { "met" } else { "missed" },
            unit = self.unit,
        );
        Ok(())
    }
}

pub fn median(values: Vec<f64>) -> f64 {
    percentile(values, 50)
}

/// The value that so many percent do not exceed; zero of nothing.
pub fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((values.len() * percent / 100).min(last)).copied().unwrap_or(0.0)
}
