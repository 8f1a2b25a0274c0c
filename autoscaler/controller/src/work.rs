//! How much more CPU a request takes live than its profile says. Pure.

use msars_domain::{Rate, Reading};

use crate::profiles::Known;

/// Below this share, live work differs from the profile's by no more than scrapes can tell.
pub const TELLS: f64 = 0.2;
/// Requests per second from which CPU per request says something: below, probes and scrapes are most of it.
pub const BUSY: f64 = 1.0;

/// CPU per request, out of cores used and requests per second, over the profile's; 1 where the difference is too small
/// to tell, none where too little is known.
pub fn ratio(cores: &Reading<f64>, rate: &Reading<Rate>, known: &Known) -> Option<f64> {
    let (cores, rate) = (cores.value()?, rate.value()?);
    if rate.get() <= BUSY || known.work_ms <= 0.0 {
        return None;
    }
    Some(counted(cores * 1000.0 / rate.get() / known.work_ms))
}

/// A ratio of live work over the profile's; 1 where the difference is too small to tell.
pub fn counted(ratio: f64) -> f64 {
    let tells = (ratio - 1.0).abs() > TELLS;
    if tells { ratio } else { 1.0 }
}
