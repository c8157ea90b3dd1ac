//! Numbers and addresses as text, which every request has some of.
//!
//! # Why
//! What the standard library formats goes through a machinery made for any width and any padding: an IPv4
//! address costs it some 650 instructions, and a number with its surroundings about 300.

use std::net::IpAddr;

/// Appends `number` in decimal digits.
pub fn push(text: &mut String, mut number: u64) {
    // 2^64 has twenty.
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        // Below ten, so it fits.
        *digit += (number % 10) as u8;
        number /= 10;
        first = place;
        if number == 0 {
            break;
        }
    }
    let digits = digits.iter().skip(first);
    text.extend(digits.map(|&digit| char::from(digit)));
}

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
        push(&mut text, octet.into());
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_range_are_written_whole() {
        for number in [0, 9, 10, u64::MAX] {
            let mut text = "n".to_owned();
            push(&mut text, number);
            assert_eq!(text, format!("n{number}"));
        }
    }

    proptest! {
        #[test]
        fn an_address_is_written_as_the_standard_library_does(address in any::<IpAddr>(), number in any::<u64>()) {
            prop_assert_eq!(of_address(address), address.to_string());
            let mut text = String::new();
            push(&mut text, number);
            prop_assert_eq!(text, number.to_string());
        }
    }
}
