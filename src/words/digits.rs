//! Addresses and numbers as text, which every request has some of.
//!
//! # Why
//! What the standard library formats goes through a machinery made for any width and any padding: an IPv4
//! address costs it some 650 instructions.

use std::net::IpAddr;

/// Appends an address as it is usually written.
pub fn write_address(text: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(v4) = address else {
        text.extend_from_slice(address.to_string().as_bytes());
        return;
    };
    for (place, octet) in v4.octets().into_iter().enumerate() {
        if place > 0 {
            text.extend_from_slice(b".");
        }
        write_number(text, octet);
    }
}

/// Appends a number.
pub fn write_number(text: &mut Vec<u8>, number: impl itoa::Integer) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Two digits of a number below 100.
pub const fn two(number: u8) -> [u8; 2] {
    [b'0' + number / 10, b'0' + number % 10]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_written_as_the_standard_library_does(address in any::<IpAddr>()) {
            let mut text = Vec::new();
            write_address(&mut text, address);
            prop_assert_eq!(text, address.to_string().into_bytes());
        }

        #[test]
        fn two_digits_are_those_of_the_number(number in 0u8..100) {
            prop_assert_eq!(two(number).to_vec(), format!("{number:02}").into_bytes());
        }
    }
}
