//! Horizontal bars in groups of before and after.

use std::fmt::Write as _;

use crate::chart::Ink;
use crate::text::{escape, figure};

/// Bars that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Written beside them.
    pub label: String,
    /// Value and colour of each, from above.
    pub bars: Vec<(f64, Ink)>,
}

/// A figure of bars from zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// What it shows, for readers who cannot see it.
    pub title: String,
    /// Written behind every value.
    pub unit: String,
    /// From above.
    pub groups: Vec<Group>,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 120.0;
const ROOM: f64 = 90.0;
const THICK: f64 = 11.0;
const GAP: f64 = 9.0;

impl Bars {
    /// The figure as one `<svg>` element.
    pub fn svg(&self) -> String {
        let most = self
            .groups
            .iter()
            .flat_map(|group| &group.bars)
            .map(|bar| bar.0)
            .filter(|value| value.is_finite())
            .fold(0.0_f64, f64::max)
            .max(1e-9);
        let height: f64 = self
            .groups
            .iter()
            .map(|group| GAP + THICK * group.bars.len() as f64)
            .sum();
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\"><title>{}</title>",
            height + GAP,
            escape(&self.title)
        );
        let mut y = GAP;
        for group in &self.groups {
            let middle = y + THICK * group.bars.len() as f64 / 2.0 + 4.0;
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                escape(&group.label)
            );
            for (value, ink) in &group.bars {
                let width = (value / most).clamp(0.0, 1.0) * (WIDTH - LEFT - ROOM);
                let _ = write!(
                    out,
                    "<rect class=\"{}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\">{} {}</text>",
                    ink.class(),
                    THICK - 2.0,
                    LEFT + width + 5.0,
                    y + THICK - 2.5,
                    figure(*value),
                    escape(&self.unit)
                );
                y += THICK;
            }
            y += GAP;
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{Bars, Group, Ink};

    #[test]
    fn the_longest_bar_fills_the_room() {
        let group = |label: &str, old, new| Group {
            label: label.into(),
            bars: vec![(old, Ink::Old), (new, Ink::New)],
        };
        let bars = Bars {
            title: "budgets".into(),
            unit: "ms".into(),
            groups: vec![group("a", 10.0, 20.0), group("b", 5.0, 0.0)],
        };
        let svg = bars.svg();
        assert!(svg.contains("width=\"550.0\"") && svg.contains("width=\"275.0\""));
        assert!(svg.contains(">20 ms<") && svg.contains(">0 ms<"));
    }
}
