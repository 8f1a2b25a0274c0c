//! Readers of single values; `None` is a value that is not understood.

use super::{APPLICATION_MOST, Adopt, DEADLINE_BOUNDS_S, Gate, Mode, REPLICA_BOUNDS};

/// A decimal number times a power of ten, exactly; more digits than that are refused.
pub(super) fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > places || whole.len() > 9 {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

/// A Kubernetes CPU quantity in thousandths of a core, rounded up: `250m`, `1`, `0.5`, `1500000n`. At most 1,000
/// cores.
pub fn cpu_millis(text: &str) -> Option<u32> {
    let (number, per_milli) = if let Some(milli) = text.strip_suffix('m') {
        (milli, 1_000_000)
    } else if let Some(micro) = text.strip_suffix('u') {
        (micro, 1_000)
    } else if let Some(nano) = text.strip_suffix('n') {
        (nano, 1)
    } else {
        (text, 1_000_000_000)
    };
    let thousandths = u128::from(decimal_or_whole(number)?) * per_milli;
    let millis = thousandths.div_ceil(1_000_000_000);
    u32::try_from(millis).ok().filter(|m| *m <= 1_000_000)
}

/// Thousandths of a decimal number of at most three places, or of a whole number of any usual length.
fn decimal_or_whole(text: &str) -> Option<u64> {
    decimal(text, 3).or_else(|| {
        let whole = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        whole.then(|| text.parse::<u64>().ok()?.checked_mul(1000))?
    })
}

/// `120s`, `2m`, `1m30s`, in seconds within the bounds.
pub(super) fn deadline(text: &str) -> Option<u32> {
    let (minutes, seconds) = match text.split_once('m') {
        Some((minutes, "")) => (minutes.trim().parse::<u32>().ok()?, 0),
        Some((minutes, rest)) => (minutes.trim().parse().ok()?, seconds(rest)?),
        None => (0, seconds(text)?),
    };
    let total = minutes.checked_mul(60)?.checked_add(seconds)?;
    DEADLINE_BOUNDS_S.contains(&total).then_some(total)
}

fn seconds(text: &str) -> Option<u32> {
    text.trim().strip_suffix('s')?.parse().ok()
}

/// Rates separated by commas or spaces, `/s` after a rate allowed.
/// Largest rate and most rates that a LoadLatencyProfile takes.
const MOST_RATE: f64 = 2000.0;
const MOST_RATES: usize = 16;

pub(super) fn rates(text: &str) -> Option<Vec<f64>> {
    let mut rates = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let rate: f64 = part.strip_suffix("/s").unwrap_or(part).parse().ok()?;
        if !(rate > 0.0 && rate <= MOST_RATE) {
            return None;
        }
        rates.push(rate);
    }
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    (1..=MOST_RATES).contains(&rates.len()).then_some(rates)
}

pub(super) fn replicas(text: &str) -> Option<u32> {
    text.parse().ok().filter(|n| REPLICA_BOUNDS.contains(n))
}

pub(super) fn application(text: &str) -> Option<String> {
    (text.chars().count() <= APPLICATION_MOST).then(|| text.to_owned())
}

pub(super) fn flag(text: &str) -> Option<bool> {
    text.parse().ok()
}

pub(super) fn mode(text: &str) -> Option<Mode> {
    match text {
        "off" => Some(Mode::Off),
        "recommend" => Some(Mode::Recommend),
        "auto" => Some(Mode::Auto),
        _ => None,
    }
}

pub(super) fn gate(text: &str) -> Option<Gate> {
    match text {
        "observe" => Some(Gate::Observe),
        "hold" => Some(Gate::Hold),
        _ => None,
    }
}

pub(super) fn adopt(text: &str) -> Option<Adopt> {
    (text == "hpa").then_some(Adopt::Hpa)
}
