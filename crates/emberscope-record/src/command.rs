//! Commands as argument vectors, and as a person types them.

use std::fmt;
use std::process;

/// A program with its arguments, and what it gets into its environment besides what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// Variables that are set.
    pub env: Vec<(String, String)>,
}

impl Command {
    /// A command without variables.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), env: Vec::new() }
    }

    /// The program.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The same with more arguments.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.argv.extend(more.into_iter().map(Into::into));
        self
    }

    /// What the standard library starts.
    pub(crate) fn process(&self) -> process::Command {
        let mut process = process::Command::new(self.program());
        process.args(self.argv.iter().skip(1)).envs(self.env.iter().map(|(name, value)| (name, value)));
        process
    }
}

impl fmt::Display for Command {
    /// Quoted for a POSIX shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words: Vec<String> = variables.chain(self.argv.iter().map(|word| quoted(word))).collect();
        f.write_str(&words.join(" "))
    }
}

/// A word as a POSIX shell takes it for one.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a line, as a POSIX shell parts them without expanding anything; what PySpark does with its own variable.
/// None when a quote is not closed.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            escaped @ ('"' | '\\') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_the_same_words_again() {
        let argv = ["spark-submit", "--conf", "a=b c", "it's", "", "\"$HOME\"", "x\\y", "local[2]", "ä"];
        let line = Command::new(argv).to_string();
        assert_eq!(line, r#"spark-submit --conf 'a=b c' 'it'\''s' '' '"$HOME"' 'x\y' 'local[2]' 'ä'"#);
        assert_eq!(words(&line).as_deref(), Some(argv.map(str::to_owned).as_slice()));
    }

    #[test]
    fn words_are_parted_as_python_parts_them() {
        let parted = |line: &str| words(line).map(|words| words.join("|"));
        assert_eq!(parted(r#"--conf "a=b \"c\"" pyspark-shell"#).as_deref(), Some(r#"--conf|a=b "c"|pyspark-shell"#));
        assert_eq!(parted("  a\t b\n").as_deref(), Some("a|b"));
        assert_eq!(parted("").as_deref(), Some(""));
        assert_eq!([parted("'open"), parted("\"open"), parted("end\\")], [None, None, None]);
    }

    #[test]
    fn variables_stand_before_the_program() {
        let mut command = Command::new(["python", "job.py"]);
        command.env.push(("PYSPARK_SUBMIT_ARGS".to_owned(), "--conf a=b pyspark-shell".to_owned()));
        assert_eq!(command.to_string(), "PYSPARK_SUBMIT_ARGS='--conf a=b pyspark-shell' python job.py");
    }
}
