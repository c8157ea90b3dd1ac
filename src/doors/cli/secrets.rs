//! References to secrets on the command line. The secrets themselves are never arguments: the process
//! list would show them.

use std::path::Path;

use crate::doors::cli::terminal::complain;
use crate::rules::config::surroundings::Surroundings;
use crate::rules::reader::secrets::Secrets;
use crate::words::secret::Secret;

/// How references on the command line are read: relative files from the working directory.
pub fn source() -> Secrets<'static> {
    Secrets::From(&Surroundings, Path::new(""))
}

/// The secrets that `references` name; what cannot be had is complained about, and gives `None`.
pub fn resolve(references: &[String]) -> Option<Vec<Secret>> {
    let mut secrets = Some(Vec::new());
    for reference in references {
        match source().resolve(reference) {
            Ok(resolved) => {
                for caution in &resolved.cautions {
                    complain(&format!("note: {caution}"));
                }
                if let Some(secrets) = &mut secrets {
                    secrets.push(resolved.secret);
                }
            }
            Err(problem) => {
                complain(&format!("--secret: {problem}"));
                secrets = None;
            }
        }
    }
    secrets
}
