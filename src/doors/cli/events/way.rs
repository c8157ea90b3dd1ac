//! Where the gateway's admin API is, and the token for it: from the configuration, or said outright.

use crate::doors::cli::events::Failed;
use crate::doors::cli::place::{Base, Nowhere, Place};
use crate::doors::cli::secrets::source;
use crate::doors::cli::terminal::complain;
use crate::rules::config::surroundings::Surroundings;
use crate::rules::reader::secrets::Secrets;
use crate::words::secret::Secret;

/// The arguments that say where the gateway is, and who asks.
#[derive(Debug, clap::Args)]
pub struct Way {
    #[command(flatten)]
    place: Place,
    /// The token, instead of the configuration's: env:NAME or file:PATH.
    #[arg(long, value_name = "REF")]
    token: Option<String>,
}

/// An admin API.
pub struct Target {
    /// Where it is.
    pub base: Base,
    /// The token to show.
    pub token: Option<Secret>,
}

// === impl Way ===

impl Way {
    /// The admin API that is meant.
    pub(super) fn target(&self) -> Result<Target, Failed> {
        let token = self.token.as_deref();
        let given = token.map(|token| resolved("--token", source(), token));
        let given = given.transpose()?;
        let (base, config) = self.place.find()?;
        let configured = config.and_then(|config| config.admin.token);
        // No secret but the token is needed, so none else is looked up.
        let token = match (given, configured) {
            (Some(given), _) => Some(given),
            (None, Some(configured)) => {
                let secrets = Secrets::From(&Surroundings, self.place.folder());
                let reference = configured.reference().as_str();
                Some(resolved("admin.token", secrets, reference)?)
            }
            (None, None) => None,
        };
        Ok(Target { base, token })
    }
}

impl From<Nowhere> for Failed {
    fn from(nowhere: Nowhere) -> Self {
        match nowhere {
            Nowhere::Usage(problem) => Self::Usage(problem),
            Nowhere::Configuration => Self::Configuration,
        }
    }
}

fn resolved(what: &str, secrets: Secrets<'_>, reference: &str) -> Result<Secret, Failed> {
    secrets
        .resolve(reference)
        .map(|resolved| resolved.secret)
        .map_err(|problem| {
            complain(&format!("{what}: {problem}"));
            Failed::Configuration
        })
}
