//! Lines, points, bands and spans over two axes.

use std::fmt::Write as _;

use crate::axis::{Axis, Placed};
use crate::text::{escape, figure};

/// A colour by what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// What was.
    Old,
    /// What is new.
    New,
    /// Something beside both.
    Other,
    /// A bound that should not be crossed.
    Limit,
    /// A time of waiting.
    Hold,
}

impl Ink {
    /// Its class in [`crate::STYLE`].
    pub fn class(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
            Self::Other => "other",
            Self::Limit => "limit",
            Self::Hold => "hold",
        }
    }
}

/// Something drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// A line through points in order.
    Line {
        /// Its points.
        points: Vec<(f64, f64)>,
        /// Its colour.
        ink: Ink,
        /// Interrupted.
        dashed: bool,
        /// What the legend says; nothing when empty.
        label: String,
    },
    /// The area between a lower and an upper value.
    Band {
        /// x, lower, upper.
        points: Vec<(f64, f64, f64)>,
        /// Its colour.
        ink: Ink,
    },
    /// Single points.
    Dots {
        /// Its points.
        points: Vec<(f64, f64)>,
        /// Its colour.
        ink: Ink,
        /// What the legend says; nothing when empty.
        label: String,
    },
    /// A horizontal line across.
    Level {
        /// Its height.
        y: f64,
        /// Its colour.
        ink: Ink,
        /// Written on it.
        label: String,
    },
    /// A vertical stripe.
    Span {
        /// First x.
        from: f64,
        /// Last x.
        to: f64,
        /// Its colour.
        ink: Ink,
        /// Written on it.
        label: String,
    },
}

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows, for readers who cannot see it.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// What is drawn, in order.
    pub marks: Vec<Mark>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;

impl Chart {
    /// The figure as one `<svg>` element.
    pub fn svg(&self) -> String {
        let x = self.x.over(self.xs().into_iter(), LEFT, WIDTH - RIGHT);
        let y = self.y.over(self.ys().into_iter(), HEIGHT - BOTTOM, TOP);
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}</title>",
            escape(&self.title)
        );
        self.frame(&mut out, &x, &y);
        for mark in &self.marks {
            draw(&mut out, mark, &x, &y);
        }
        self.legend(&mut out);
        out.push_str("</svg>");
        out
    }

    fn xs(&self) -> Vec<f64> {
        let of = |mark: &Mark| match mark {
            Mark::Line { points, .. } | Mark::Dots { points, .. } => {
                points.iter().map(|p| p.0).collect()
            }
            Mark::Band { points, .. } => points.iter().map(|p| p.0).collect(),
            Mark::Span { from, to, .. } => vec![*from, *to],
            Mark::Level { .. } => Vec::new(),
        };
        self.marks.iter().flat_map(of).collect()
    }

    fn ys(&self) -> Vec<f64> {
        let of = |mark: &Mark| match mark {
            Mark::Line { points, .. } | Mark::Dots { points, .. } => {
                points.iter().map(|p| p.1).collect()
            }
            Mark::Band { points, .. } => points.iter().flat_map(|p| [p.1, p.2]).collect(),
            Mark::Level { y, .. } => vec![*y],
            Mark::Span { .. } => Vec::new(),
        };
        self.marks.iter().flat_map(of).collect()
    }

    fn frame(&self, out: &mut String, x: &Placed, y: &Placed) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (mark, at) in x.marks().into_iter().filter_map(|m| Some((m, x.at(m)?))) {
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                figure(mark)
            );
        }
        for (mark, at) in y.marks().into_iter().filter_map(|m| Some((m, y.at(m)?))) {
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                figure(mark)
            );
        }
        let _ = write!(
            out,
            "<rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            right - LEFT,
            bottom - TOP,
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escape(&self.x.label),
            f64::midpoint(TOP, bottom),
            escape(&self.y.label)
        );
    }

    fn legend(&self, out: &mut String) {
        let mut at = LEFT;
        for mark in &self.marks {
            let (Mark::Line { ink, label, .. } | Mark::Dots { ink, label, .. }) = mark else {
                continue;
            };
            if label.is_empty() {
                continue;
            }
            let class = ink.class();
            match mark {
                Mark::Line { dashed, .. } => {
                    let dashed = if *dashed { " dashed" } else { "" };
                    let _ = write!(
                        out,
                        "<line class=\"line {class}{dashed}\" x1=\"{at:.1}\" x2=\"{:.1}\" y1=\"14\" y2=\"14\"/>",
                        at + 18.0
                    );
                }
                _ => {
                    let _ = write!(
                        out,
                        "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"14\" r=\"4\"/>",
                        at + 9.0
                    );
                }
            }
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"18\">{}</text>",
                at + 23.0,
                escape(label)
            );
            at += 40.0 + 6.4 * label.chars().count() as f64;
        }
    }
}

fn draw(out: &mut String, mark: &Mark, x: &Placed, y: &Placed) {
    let place = |p: &(f64, f64)| Some((x.at(p.0)?, y.at(p.1)?));
    match mark {
        Mark::Line {
            points,
            ink,
            dashed,
            ..
        } => {
            let dashed = if *dashed { " dashed" } else { "" };
            let _ = write!(
                out,
                "<polyline class=\"line {}{dashed}\" points=\"{}\"/>",
                ink.class(),
                list(points.iter().filter_map(place))
            );
        }
        Mark::Band { points, ink } => {
            let upper = points.iter().filter_map(|p| place(&(p.0, p.2)));
            let lower = points.iter().rev().filter_map(|p| place(&(p.0, p.1)));
            let _ = write!(
                out,
                "<polygon class=\"area {}\" points=\"{}\"/>",
                ink.class(),
                list(upper.chain(lower))
            );
        }
        Mark::Dots { points, ink, .. } => {
            for (px, py) in points.iter().filter_map(place) {
                let _ = write!(
                    out,
                    "<circle class=\"{}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\"/>",
                    ink.class()
                );
            }
        }
        Mark::Level {
            y: level,
            ink,
            label,
        } => {
            let Some(at) = y.at(*level) else { return };
            let (class, right) = (ink.class(), WIDTH - RIGHT);
            let _ = write!(
                out,
                "<line class=\"line {class} dashed\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                right - 4.0,
                at - 4.0,
                escape(label)
            );
        }
        Mark::Span {
            from,
            to,
            ink,
            label,
        } => {
            let (Some(from), Some(to)) = (x.at(*from), x.at(*to)) else {
                return;
            };
            let class = ink.class();
            let _ = write!(
                out,
                "<rect class=\"area {class}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                (to - from).max(1.0),
                HEIGHT - BOTTOM - TOP,
                from + 3.0,
                TOP + 14.0,
                escape(label)
            );
        }
    }
}

fn list(points: impl Iterator<Item = (f64, f64)>) -> String {
    let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    points.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Axis, Chart, Ink, Mark};

    #[test]
    fn a_figure_holds_every_mark_and_its_legend() {
        let chart = Chart {
            title: "p99 < SLO".into(),
            x: Axis::linear("s"),
            y: Axis::log("ms"),
            marks: vec![
                Mark::Span {
                    from: 2.0,
                    to: 4.0,
                    ink: Ink::Hold,
                    label: "held".into(),
                },
                Mark::Band {
                    points: vec![(0.0, 5.0, 20.0), (10.0, 8.0, 30.0)],
                    ink: Ink::New,
                },
                Mark::Line {
                    points: vec![(0.0, 10.0), (10.0, 15.0)],
                    ink: Ink::New,
                    dashed: false,
                    label: "p99".into(),
                },
                Mark::Dots {
                    points: vec![(5.0, 12.0)],
                    ink: Ink::Old,
                    label: String::new(),
                },
                Mark::Level {
                    y: 100.0,
                    ink: Ink::Limit,
                    label: "SLO".into(),
                },
            ],
        };
        let svg = chart.svg();
        for part in [
            "<title>p99 &lt; SLO</title>",
            "polygon",
            "polyline",
            "circle",
            ">held<",
            ">SLO<",
            ">p99<",
        ] {
            assert!(svg.contains(part), "{part}");
        }
        assert_eq!(svg, chart.svg());
        assert!(!svg.contains("NaN"));
    }
}
