//! `delivery` and `order_by`: what the provider's answer waits for, and what waits for what.

use crate::rules::config::Delivery;
use crate::rules::provider::Kind;
use crate::rules::reader::Section;

/// Reads `delivery`.
pub fn delivery(section: &mut Section<'_>) -> Delivery {
    let choices = [
        ("inline", Delivery::Inline),
        ("spill", Delivery::Spill),
        ("queue", Delivery::Queue),
    ];
    section
        .one_of("delivery", &choices)
        .unwrap_or(Delivery::Spill)
}

/// Reads `order_by`, which only a queue can keep.
pub fn order_by(
    section: &mut Section<'_>,
    delivery: Delivery,
    kind: Option<&Kind>,
) -> Option<String> {
    let expected = format!("a JSON pointer such as {SUCH_AS}");
    let order_by = section.parse("order_by", &expected, pointer)?;
    if let Some(message) = unkept(delivery)
        && !section.is_spoiled("delivery")
    {
        section.mistake("order_by", message);
    } else if let Some(kind) = kind.filter(|kind| !kind.needs_body) {
        section.warn(
            "order_by",
            format!(
                "points into the body, and what {} sends can come without one; such events keep no order",
                kind.name
            ),
        );
    }
    Some(order_by)
}

/// Why this way to deliver keeps no order, if it keeps none.
fn unkept(delivery: Delivery) -> Option<&'static str> {
    match delivery {
        Delivery::Queue => None,
        Delivery::Spill => Some(
            "needs delivery = \"queue\": with \"spill\" an event goes to the app as it comes, past \
             earlier ones that wait",
        ),
        Delivery::Inline => Some(
            "needs delivery = \"queue\": with \"inline\" an event goes to the app as it comes, and waits \
             for no other",
        ),
    }
}

/// RFC 6901 without the empty pointer: the whole body is no subject that events could share.
fn pointer(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!(
            "is not a JSON pointer to a member of the body; begin it with `/`, like {SUCH_AS}"
        ));
    }
    let is_escape = |after: &str| after.starts_with('0') || after.starts_with('1');
    if !text.split('~').skip(1).all(is_escape) {
        return Err("has a `~` that is part of neither `~0` (a `~`) nor `~1` (a `/`)".to_owned());
    }
    if text.len() > POINTER_LONGEST {
        return Err(format!("is longer than {POINTER_LONGEST} bytes"));
    }
    Ok(text.to_owned())
}

const SUCH_AS: &str = "\"/data/card_id\"";
/// Far above any real pointer; each event's body is walked along it.
const POINTER_LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_one_of_rfc_6901_to_a_member() {
        let right = [
            "/data/card_id",
            "/pass_id",
            "/a~1b",
            "/m~0n",
            "/~01",
            "/items/0/id",
            "/",
            "/a b/ä",
            "/c%d",
            &format!("/{}", "a".repeat(255)),
        ];
        for text in right {
            assert_eq!(pointer(text).as_deref(), Ok(text));
        }
        let wrong = [
            "",
            "data",
            "data.card_id",
            "#/data",
            "$.data",
            " /data",
            "/a~",
            "/a~2",
            "/~~0",
            "/a~/b",
            &format!("/{}", "a".repeat(256)),
        ];
        for text in wrong {
            assert!(pointer(text).is_err(), "{text}");
        }
    }
}
