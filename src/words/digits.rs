//! Addresses as text, which every request has some of.
//!
//! # Why
//! What the standard library formats goes through a machinery made for any width and any padding: an IPv4
//! address costs it some 650 instructions.

use std::net::IpAddr;

/// An address as it is usually written.
pub fn of_address(address: IpAddr) -> String {
    let IpAddr::V4(v4) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity(15);
    for octet in v4.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_written_as_the_standard_library_does(address in any::<IpAddr>()) {
            prop_assert_eq!(of_address(address), address.to_string());
        }
    }
}
