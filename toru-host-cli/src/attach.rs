//! `--attach ID=PATH`: a plugin that the developer starts.

use std::path::PathBuf;

use toru_core::discovery::read_source_dir;

use crate::{build::Source, failure::Failure};

/// Which plugin is started by hand, and where it will listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attach {
    pub(crate) id: String,
    /// Absolute, because the plugin may run in another folder.
    pub(crate) path: PathBuf,
}

/// Reads the option's value.
pub(crate) fn parse(text: &str) -> Result<Attach, String> {
    match text.split_once('=') {
        Some((id, path)) if !id.is_empty() && !path.is_empty() => {
            let path = std::path::absolute(path).map_err(|error| format!("{path:?} is no path: {error}"))?;
            Ok(Attach { id: id.to_owned(), path })
        }
        _ => Err("write the plugin's id and a path for its socket: `hello=/tmp/hello.sock`".into()),
    }
}

/// Each plugin that is to be attached must be one of those served, and have a path of its own.
pub(crate) fn check<'a>(attached: &[Attach], served: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let served: Vec<&str> = served.collect();
    for (index, attach) in attached.iter().enumerate() {
        if !served.contains(&attach.id.as_str()) {
            return Err(Failure::usage(format!(
                "--attach: there is no plugin {:?} in the folders that are served; there is {}",
                attach.id,
                served.join(", ")
            )));
        }
        if let Some(other) = attached[..index].iter().find(|other| other.id == attach.id) {
            return Err(Failure::usage(format!(
                "--attach names the plugin {:?} twice, at {} and at {}: name it once",
                attach.id,
                other.path.display(),
                attach.path.display()
            )));
        }
        if let Some(other) = attached[..index].iter().find(|other| other.path == attach.path) {
            return Err(Failure::usage(format!(
                "--attach: the plugins {:?} and {:?} cannot both listen on {}: name another path for one",
                other.id,
                attach.id,
                attach.path.display()
            )));
        }
    }
    Ok(())
}

impl Attach {
    /// What the developer has to type.
    pub(crate) fn how_to_start(&self, source: &Source) -> String {
        // Read again: the build has made the program, whose path can be told now.
        let Ok((definition, _)) = read_source_dir(&source.dir) else {
            return self.waits_again();
        };
        let mut line = format!("cd {} &&", quoted(&definition.cwd.to_string_lossy()));
        for (name, value) in definition.metadata.env() {
            line += &format!(" {name}={}", quoted(value));
        }
        line += &format!(" TORU_PLUGIN_ID={}", self.id);
        line += &format!(" TORU_PLUGIN_SOCKET={}", quoted(&self.path.to_string_lossy()));
        let (path, args) = (&definition.program.path, &definition.program.args);
        for word in std::iter::once(path.as_os_str()).chain(args.iter().map(|argument| argument.as_os_str()))
        {
            line = line + " " + &quoted(&word.to_string_lossy());
        }
        format!(
            "{id}: waits to be attached; start it by hand (for a debugger, write it before the program: gdb --args ...):\n    {line}",
            id = self.id
        )
    }

    pub(crate) fn attached(&self, pid: Option<u32>) -> String {
        match pid {
            Some(pid) => format!("{}: ready, attached to process {pid}", self.id),
            None => format!("{}: ready, attached", self.id),
        }
    }

    pub(crate) fn waits_again(&self) -> String {
        format!("{}: waiting for the next one on {}; start it again", self.id, self.path.display())
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./,:@%+=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_an_id_and_a_path_that_becomes_absolute() {
        let attach = parse("hello=/tmp/a=b.sock").unwrap();
        assert_eq!((attach.id.as_str(), attach.path), ("hello", PathBuf::from("/tmp/a=b.sock")));
        assert!(parse("hello=x.sock").unwrap().path.is_absolute());
        for text in ["", "hello", "=", "hello=", "=/tmp/x"] {
            assert!(parse(text).unwrap_err().contains("hello=/tmp/hello.sock"), "{text}");
        }
    }

    #[test]
    fn a_word_is_quoted_for_a_shell() {
        for (word, quoted_word) in
            [("a/b-c.d", "a/b-c.d"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$x", "'$x'")]
        {
            assert_eq!(quoted(word), quoted_word);
        }
    }
}
