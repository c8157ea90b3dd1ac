//! Panics of the product, which a task of its own would otherwise swallow.

use std::sync::{Mutex, Once};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
static WATCH: Once = Once::new();

/// Watches from now on. Panics of the tests themselves do not count.
pub fn watch() {
    WATCH.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_ours = panic
                .location()
                .is_none_or(|place| !place.file().starts_with("tests/"));
            if is_ours {
                SEEN.lock().unwrap().push(panic.to_string());
            }
            usual(panic);
        }));
    });
}

/// Those that were seen, of any test of this process.
pub fn seen() -> Vec<String> {
    SEEN.lock().unwrap().clone()
}
