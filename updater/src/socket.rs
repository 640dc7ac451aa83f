//! A client of the unit's socket: asks once, and hears it to the end.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::follow::Refused;
use crate::protocol::Request;

/// Asks the unit that listens at `socket`. `hear` is given each event, as the line that it came in and as
/// what that says.
///
/// # Errors
/// [`Refused`].
pub(crate) fn talk(
    socket: &Path,
    request: &Request,
    hear: &mut dyn FnMut(&str, &Value) -> io::Result<()>,
) -> Result<Value, Refused> {
    let at = socket.display();
    let cannot = |error: io::Error| Refused::Nobody(format!("`{at}`: {error}"));
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Refused::Nobody(format!("nobody listens at `{at}`: the updater's unit does not run"))
        }
        _ => cannot(error),
    })?;
    let line = serde_json::to_string(request).map_err(|error| cannot(error.into()))?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(cannot)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(cannot)?;
        let mut event: Value = serde_json::from_str(&line).map_err(|error| cannot(error.into()))?;
        hear(&line, &event).map_err(|error| Refused::Failed(error.to_string()))?;
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("event") {
            "done" => return Ok(event["result"].take()),
            "failed" if event["later"] == true => {
                return Err(Refused::Busy(text("why").to_owned()));
            }
            "failed" => return Err(Refused::Failed(text("why").to_owned())),
            "busy" => {
                let seconds = event.get("seconds").and_then(Value::as_u64).unwrap_or(0);
                let doing = text("doing");
                let message = format!("somebody else is at it: `{doing}`, since {seconds} s");
                return Err(Refused::Busy(message));
            }
            _ => {}
        }
    }
    Err(Refused::Nobody("the updater's unit has gone before it had an answer".to_owned()))
}
