//! A client of TUF on the command line, as the public conformance suite wants it
//! (<https://github.com/theupdateframework/tuf-conformance>, `CLIENT-CLI.md`):
//!
//! ```text
//! tuf-client --metadata-dir DIR init ROOT
//! tuf-client --metadata-dir DIR --metadata-url URL refresh
//! tuf-client --metadata-dir DIR --metadata-url URL --target-name NAME... \
//!     --target-base-url URL --target-dir DIR download
//! ```
//!
//! It also shows all the input and output that `formats::tuf` wants of whoever uses it.
#![expect(clippy::disallowed_methods, reason = "this is the rim: it may ask the time")]

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use formats::tuf::{Form, Found, Io, Limits, Refresh, Search, TargetPath, Trusted, run};
use tempfile::NamedTempFile;

/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match command(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    metadata_dir: PathBuf,
    metadata_url: String,
    target_names: Vec<String>,
    target_base_url: String,
    target_dir: PathBuf,
}

fn command(mut words: impl Iterator<Item = String>) -> Result<()> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` wants a value"));
        match word.as_str() {
            "--metadata-dir" => options.metadata_dir = value()?.into(),
            "--metadata-url" => options.metadata_url = value()?,
            "--target-name" => options.target_names.push(value()?),
            "--target-base-url" => options.target_base_url = value()?,
            "--target-dir" => options.target_dir = value()?.into(),
            "init" => return init(&options, Path::new(&value()?)),
            "refresh" => return Client::new(&options).refresh().map(drop),
            "download" => return download(&options),
            _ => bail!("`{word}` is not known"),
        }
    }
    bail!("nothing is to be done")
}

fn init(options: &Options, root: &Path) -> Result<()> {
    let root = fs::read(root).with_context(|| root.display().to_string())?;
    Trusted::new(&root, now()?)?;
    Client::new(options).store("root.json", &root)
}

fn download(options: &Options) -> Result<()> {
    let mut client = Client::new(options);
    let trusted = client.refresh()?;
    for name in &options.target_names {
        let target: TargetPath = name.parse()?;
        let mut search = Search::new(&trusted, target, Limits::DEFAULT)?;
        run(&mut search, &mut client)?;
        let found = search.found()?;
        let file = options.target_dir.join(found.path.as_str());
        if is_there(&file, &found)? {
            continue;
        }
        let directory = file.parent().context("a file has a directory")?;
        fs::create_dir_all(directory)?;
        let mut place = NamedTempFile::new_in(directory)?;
        let address = below(&options.target_base_url, &found.place(Form::Address));
        let answer = client.get(&address)?.with_context(|| format!("{address} is not there"))?;
        copy(answer, &found, place.as_file_mut())?;
        place.as_file().sync_all()?;
        place.persist(&file)?;
    }
    Ok(())
}

/// Whether what is to be fetched is there already.
fn is_there(file: &Path, found: &Found) -> Result<bool> {
    match File::open(file) {
        Ok(there) => Ok(copy(there, found, &mut io::sink()).is_ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// Copies a target, which is one only if this comes to its end.
fn copy(mut from: impl Read, found: &Found, to: &mut impl io::Write) -> Result<()> {
    let mut check = found.check()?;
    let refused = |reason: formats::tuf::Reason| reason.of(found.path.as_str());
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(check.finish().map_err(refused)?);
        }
        check.update(&buffer[..length]).map_err(refused)?;
        to.write_all(&buffer[..length])?;
    }
}

/// Keeps metadata in a directory and fetches it from a server.
struct Client<'a> {
    options: &'a Options,
    agent: ureq::Agent,
}

impl<'a> Client<'a> {
    fn new(options: &'a Options) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        Self { options, agent: config.build().into() }
    }

    fn refresh(&mut self) -> Result<Trusted> {
        let mut refresh = Refresh::new(now()?, Limits::DEFAULT);
        run(&mut refresh, self)?;
        refresh.into_trusted().context("the refresh has ended")
    }

    /// The answer's body; nothing if the server says that it has no such file.
    fn get(&self, address: &str) -> Result<Option<impl Read + use<>>> {
        let answer = self.agent.get(address).call().with_context(|| address.to_owned())?;
        match answer.status().as_u16() {
            200 => Ok(Some(answer.into_body().into_reader())),
            404 => Ok(None),
            status => bail!("{address}: the server says {status}"),
        }
    }
}

impl Io for Client<'_> {
    type Error = anyhow::Error;

    fn load(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let file = self.options.metadata_dir.join(file);
        let there = match File::open(&file) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        Ok(Some(up_to(there, limit)?).filter(|bytes| bytes.len() as u64 <= limit))
    }

    fn fetch(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let answer = self.get(&below(&self.options.metadata_url, path))?;
        answer.map(|body| up_to(body, limit)).transpose()
    }

    fn store(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        let mut place = NamedTempFile::new_in(&self.options.metadata_dir)?;
        place.write_all(bytes)?;
        place.as_file().sync_all()?;
        place.persist(self.options.metadata_dir.join(file))?;
        Ok(File::open(&self.options.metadata_dir)?.sync_all()?)
    }

    fn remove(&mut self, file: &str) -> Result<()> {
        match fs::remove_file(self.options.metadata_dir.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The first byte beyond a limit shows that there are more.
fn up_to(from: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn below(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(i64::try_from(now.as_secs())?)
}
