//! Open-loop load driver with latency from the intended send time.
