//! Addresses in URLs.

/// `host:port` as a URL has it: an IPv6 address in brackets, since its colons are no beginning of the port.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn addresses_of_both_families_and_names_make_a_url() {
        for (host, wanted) in [
            ("10.244.0.7", "10.244.0.7:9900"),
            ("2001:db8::7", "[2001:db8::7]:9900"),
            ("::1", "[::1]:9900"),
            ("[::1]", "[::1]:9900"),
            ("carts.shop.svc", "carts.shop.svc:9900"),
        ] {
            assert_eq!(authority(host, 9900), wanted, "{host}");
        }
    }
}
