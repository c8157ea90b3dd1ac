//! The command line: words of the form `name=value`.

use std::collections::HashMap;
use std::str::FromStr;

/// What was given.
pub struct Words(HashMap<String, String>);

// === impl Words ===

impl Words {
    /// Reads them; ends the program at one without `=`.
    pub fn read(given: impl Iterator<Item = String>) -> Self {
        let pairs = given.map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => fail(&format!("{word} is not name=value")),
        });
        Self(pairs.collect())
    }

    /// The value of `name`; ends the program where there is none.
    pub fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(value) => value,
            None => fail(&format!("{name}=… is missing")),
        }
    }

    /// The value of `name` as a number, or `default`; ends the program where it is something else.
    pub fn number<T: FromStr>(&self, name: &str, default: T) -> T {
        match self.0.get(name).map(|value| value.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => fail(&format!("{name} is not such a number")),
        }
    }
}

/// Ends the program with a word on why.
pub fn fail(why: &str) -> ! {
    eprintln!("load: {why}");
    std::process::exit(2)
}
