//! Which back end moves the bytes.

use std::env;
use std::ffi::OsStr;

use super::backend::{Backend, BackendOptions};
use super::epoll::EpollBackend;
use super::options::BackendChoice;
use super::uring::UringBackend;
use crate::error::{Error, ErrorKind, Result};

/// The environment variable that decides for [`BackendChoice::Auto`].
const VARIABLE: &str = "SEALWIRE_BACKEND";

/// The back end of `choice` for the calling thread, and why it is not io_uring where that was tried
/// in vain.
///
/// # Errors
///
/// Where the back end that was named, by `choice` or by the environment, cannot be used; where
/// `Auto` finds none; and where the environment names one that there is not.
pub fn open(
    choice: BackendChoice,
    options: &BackendOptions,
) -> Result<(Box<dyn Backend>, Option<String>)> {
    match resolve(choice, env::var_os(VARIABLE).as_deref())? {
        BackendChoice::Uring => Ok((Box::new(UringBackend::new(options)?), None)),
        BackendChoice::Epoll => Ok((Box::new(EpollBackend::new(options)?), None)),
        BackendChoice::Auto => match UringBackend::new(options) {
            Ok(backend) => Ok((Box::new(backend), None)),
            Err(reason) => {
                let backend = EpollBackend::new(options)?;
                Ok((Box::new(backend), Some(reason.to_string())))
            }
        },
    }
}

fn resolve(choice: BackendChoice, variable: Option<&OsStr>) -> Result<BackendChoice> {
    let (BackendChoice::Auto, Some(name)) = (choice, variable) else {
        return Ok(choice);
    };
    match name.to_str() {
        Some("" | "auto") => Ok(BackendChoice::Auto),
        Some("uring") => Ok(BackendChoice::Uring),
        Some("epoll") => Ok(BackendChoice::Epoll),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!(
                "{VARIABLE}={}: it must be auto, uring or epoll",
                name.display()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_for_auto_only() {
        let epoll = Some(OsStr::new("epoll"));
        assert_eq!(
            resolve(BackendChoice::Auto, epoll),
            Ok(BackendChoice::Epoll)
        );
        assert_eq!(
            resolve(BackendChoice::Uring, epoll),
            Ok(BackendChoice::Uring)
        );
        assert_eq!(resolve(BackendChoice::Auto, None), Ok(BackendChoice::Auto));
    }

    #[test]
    fn an_unknown_name_in_the_environment_is_an_error() {
        let error = resolve(BackendChoice::Auto, Some(OsStr::new("kqueue"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("kqueue"));
    }
}
