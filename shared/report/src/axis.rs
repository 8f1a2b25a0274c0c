//! One axis: from values to pixels, and where its marks stand.

/// How values are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero or the smallest value.
    Linear,
    /// By their logarithm; values at or below zero are left out.
    Log,
}

/// An axis and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Its name with the unit.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
}

impl Axis {
    /// Evenly spread.
    pub fn linear(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            scale: Scale::Linear,
        }
    }

    /// Spread by the logarithm.
    pub fn log(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            scale: Scale::Log,
        }
    }

    /// The axis over these values, from pixel `start` to pixel `end`.
    pub(crate) fn over(&self, values: impl Iterator<Item = f64>, start: f64, end: f64) -> Placed {
        let usable =
            |value: &f64| value.is_finite() && (self.scale == Scale::Linear || *value > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(usable) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (1.0, 2.0);
        }
        match self.scale {
            Scale::Linear => {
                low = low.min(0.0);
                let step = nice(((high - low) / 5.0).max(1e-9));
                high = (high / step).ceil() * step;
                if high <= low {
                    high = low + step;
                }
            }
            Scale::Log => {
                low = 10f64.powf(low.log10().floor());
                high = 10f64.powf(high.log10().ceil());
                if high <= low {
                    high = low * 10.0;
                }
            }
        }
        Placed {
            scale: self.scale,
            low,
            high,
            start,
            end,
        }
    }
}

/// 1, 2 or 5 times a power of ten, at or above `step`.
fn nice(step: f64) -> f64 {
    let unit = 10f64.powf(step.log10().floor());
    let found = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * unit >= step * 0.999);
    found.unwrap_or(10.0) * unit
}

/// An axis with its range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    scale: Scale,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Placed {
    /// The pixel of a value; none for what a logarithm does not know.
    pub(crate) fn at(&self, value: f64) -> Option<f64> {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log if value > 0.0 => (value / self.low).ln() / (self.high / self.low).ln(),
            Scale::Log => return None,
        };
        let share = share.is_finite().then_some(share)?;
        Some(self.start + (self.end - self.start) * share.clamp(0.0, 1.0))
    }

    /// Values that deserve a mark.
    pub(crate) fn marks(&self) -> Vec<f64> {
        let mut marks = Vec::new();
        match self.scale {
            Scale::Linear => {
                let step = nice((self.high - self.low) / 6.0);
                let first = (self.low / step).ceil();
                let count = ((self.high - first * step) / step + 1e-6).floor() as usize;
                marks.extend((0..=count).map(|n| (first + n as f64) * step));
            }
            Scale::Log => {
                let mut mark = self.low;
                while mark <= self.high * 1.001 {
                    marks.push(mark);
                    mark *= 10.0;
                }
            }
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn ranges_are_round_and_hold_every_value() {
        let axis = Axis::linear("s").over([3.0, 97.0].into_iter(), 0.0, 100.0);
        assert_eq!(axis.marks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(axis.at(50.0), Some(50.0));
        let axis = Axis::log("ms").over([3.0, 700.0, -1.0].into_iter(), 90.0, 0.0);
        assert_eq!(axis.marks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(axis.at(10.0).map(f64::round), Some(60.0));
        assert_eq!(axis.at(0.0), None);
        let empty = Axis::linear("x").over(std::iter::empty(), 0.0, 1.0);
        assert!(empty.marks().len() > 1);
    }
}
