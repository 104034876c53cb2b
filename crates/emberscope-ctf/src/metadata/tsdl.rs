//! The blocks of TSDL: trace, env, clock, stream, event (CTF 1.8, section 7).

use std::collections::{HashMap, HashSet};

use super::class::{ByteOrder, Class, Structure};
use super::lexer::{Token, tokens};
use super::{Budget, Clock, EnvironmentValue, EventClass, MAX_CLOCKS, MAX_DEPTH, Metadata, StreamClass, roles};
use crate::error::Fault;

/// Reads TSDL.
pub(super) fn parse(text: &str, packets: Option<ByteOrder>) -> Result<Metadata, Fault> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        at: 0,
        order: native_order(&tokens).or(packets).unwrap_or(ByteOrder::Little),
        tokens,
        types: vec![HashMap::new()],
        depth: 0,
        budget: Budget::default(),
        metadata: Metadata::default(),
        events: Vec::new(),
        seen_trace: false,
        streams: HashMap::new(),
    };
    parser.metadata.order = parser.order;
    while parser.peek() != &Token::End {
        parser.top_level()?;
    }
    parser.finish()
}

/// The byte order of the trace block, which may come behind the types that use it.
fn native_order(tokens: &[(Token, usize)]) -> Option<ByteOrder> {
    let is = |token: &Token, name: &str| matches!(token, Token::Name(found) if found == name);
    let start = tokens.windows(2).position(|two| is(&two[0].0, "trace") && two[1].0 == Token::Sign("{"))?;
    let mut depth = 0_usize;
    for three in tokens[start..].windows(3) {
        match &three[0].0 {
            Token::Sign("{") => depth += 1,
            Token::Sign("}") if depth == 1 => return None,
            Token::Sign("}") => depth = depth.saturating_sub(1),
            token if depth == 1 && is(token, "byte_order") && three[1].0 == Token::Sign("=") => {
                return match &three[2].0 {
                    Token::Name(name) if name == "le" => Some(ByteOrder::Little),
                    Token::Name(name) if name == "be" || name == "network" => Some(ByteOrder::Big),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    None
}

pub(super) struct Parser {
    pub(super) tokens: Vec<(Token, usize)>,
    pub(super) at: usize,
    pub(super) order: ByteOrder,
    pub(super) types: Vec<HashMap<String, Class>>,
    pub(super) depth: usize,
    pub(super) budget: Budget,
    metadata: Metadata,
    events: Vec<(EventClass, Option<u64>, usize)>,
    seen_trace: bool,
    streams: HashMap<u64, usize>,
}

/// What an attribute of a block is set to.
#[derive(Debug)]
pub(super) enum Setting {
    Integer(i128),
    Text(String),
    /// Names with dots between.
    Path(Vec<String>),
}

impl Setting {
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Path(path) if path.len() == 1 => path.first().map(String::as_str),
            Self::Path(_) | Self::Integer(_) => None,
        }
    }
}

enum Statement {
    Set(Vec<String>, Setting),
    Layout(Vec<String>, Class),
    Declaration,
}

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |found| &found.0)
    }

    pub(super) fn offset(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |found| found.1)
    }

    pub(super) fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::new(self.offset(), what))
    }

    pub(super) fn takes(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.takes(sign) { Ok(()) } else { self.fault(format!("`{sign}` expected")) }
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if found == name)
    }

    pub(super) fn name(&mut self) -> Result<String, Fault> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.fault("a name expected"),
        }
    }

    /// Goes one level deeper; the caller comes back up.
    pub(super) fn descend(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fault(format!("nested more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    fn top_level(&mut self) -> Result<(), Fault> {
        if self.takes(";") {
            return Ok(());
        }
        let is_block = matches!(self.tokens.get(self.at + 1), Some((Token::Sign("{"), _)));
        let start = self.offset();
        match self.peek().clone() {
            Token::Name(name) if is_block => match name.as_str() {
                "trace" => self.trace(start),
                "env" => self.environment(),
                "clock" => self.clock(start),
                "stream" => self.stream(start),
                "event" => self.event(start),
                "callsite" => self.block().map(|_| ()),
                _ => self.declaration(),
            },
            _ => self.declaration(),
        }
    }

    /// The statements of a block, and the offset of each.
    fn block(&mut self) -> Result<Vec<(Statement, usize)>, Fault> {
        self.at += 1;
        self.expect("{")?;
        self.descend()?;
        self.types.push(HashMap::new());
        let mut statements = Vec::new();
        while !self.takes("}") {
            if self.peek() == &Token::End {
                return self.fault("a block that does not end");
            }
            let start = self.offset();
            statements.push((self.statement()?, start));
        }
        self.types.pop();
        self.depth -= 1;
        self.takes(";");
        Ok(statements)
    }

    fn statement(&mut self) -> Result<Statement, Fault> {
        if self.takes(";") {
            return Ok(Statement::Declaration);
        }
        let behind = self.tokens.get(self.at + 1).map(|found| &found.0);
        let is_setting = matches!(self.peek(), Token::Name(_) | Token::Text(_))
            && matches!(behind, Some(Token::Sign("=" | ":=" | "." | "->")));
        if !is_setting {
            self.declaration()?;
            return Ok(Statement::Declaration);
        }
        let path = self.path()?;
        let statement = if self.takes(":=") {
            let class = self.bare_type()?;
            Statement::Layout(path, class)
        } else {
            self.expect("=")?;
            Statement::Set(path, self.setting()?)
        };
        self.expect(";")?;
        Ok(statement)
    }

    pub(super) fn path(&mut self) -> Result<Vec<String>, Fault> {
        let mut path = Vec::new();
        loop {
            path.push(match self.peek() {
                Token::Text(text) => {
                    let text = text.clone();
                    self.at += 1;
                    text
                }
                _ => self.name()?,
            });
            if !(self.takes(".") || self.takes("->")) {
                return Ok(path);
            }
        }
    }

    pub(super) fn setting(&mut self) -> Result<Setting, Fault> {
        if matches!(self.peek(), Token::Text(_)) {
            let mut all = String::new();
            while let Token::Text(text) = self.peek() {
                all.push_str(text);
                self.at += 1;
            }
            return Ok(Setting::Text(all));
        }
        if matches!(self.peek(), Token::Name(_)) {
            return Ok(Setting::Path(self.path()?));
        }
        self.integer().map(Setting::Integer)
    }

    pub(super) fn integer(&mut self) -> Result<i128, Fault> {
        let negative = self.takes("-");
        if !negative {
            self.takes("+");
        }
        match self.peek() {
            Token::Integer(value) => {
                let value = *value;
                self.at += 1;
                Ok(if negative { -value } else { value })
            }
            _ => self.fault("an integer expected"),
        }
    }

    fn unsigned(setting: &Setting, at: usize, what: &str) -> Result<u64, Fault> {
        match setting {
            Setting::Integer(value) => {
                u64::try_from(*value).map_err(|_| Fault::new(at, format!("{what} out of range")))
            }
            _ => Err(Fault::new(at, format!("{what} is not a number"))),
        }
    }

    fn signed(setting: &Setting, at: usize, what: &str) -> Result<i64, Fault> {
        match setting {
            Setting::Integer(value) => {
                i64::try_from(*value).map_err(|_| Fault::new(at, format!("{what} out of range")))
            }
            _ => Err(Fault::new(at, format!("{what} is not a number"))),
        }
    }

    fn structure(class: Class, at: usize) -> Result<Structure, Fault> {
        match class {
            Class::Structure(structure) => Ok(structure),
            _ => Err(Fault::new(at, "a structure expected")),
        }
    }

    fn trace(&mut self, start: usize) -> Result<(), Fault> {
        if std::mem::replace(&mut self.seen_trace, true) {
            return Err(Fault::new(start, "a second trace block"));
        }
        let mut version = (None, None);
        for (statement, at) in self.block()? {
            match statement {
                Statement::Set(path, setting) => match path.join(".").as_str() {
                    "major" => version.0 = Some(Self::unsigned(&setting, at, "major")?),
                    "minor" => version.1 = Some(Self::unsigned(&setting, at, "minor")?),
                    "uuid" => {
                        let word = setting.word().and_then(uuid);
                        self.metadata.uuid = Some(word.ok_or_else(|| Fault::new(at, "not a UUID"))?);
                    }
                    "byte_order" if !matches!(setting.word(), Some("le" | "be" | "network")) => {
                        return Err(Fault::new(at, "byte_order must be le or be"));
                    }
                    _ => {}
                },
                Statement::Layout(path, class) if path.join(".") == "packet.header" => {
                    self.metadata.packet_header = Self::structure(class, at)?;
                }
                Statement::Layout(..) | Statement::Declaration => {}
            }
        }
        match version {
            (Some(1), Some(8)) | (None, None) => Ok(()),
            (major, minor) => {
                let version = [major, minor].map(|part| part.map_or("?".to_owned(), |part| part.to_string())).join(".");
                Err(Fault::new(start, format!("CTF {version} is not supported: 1.8 and 2 are")))
            }
        }
    }

    fn environment(&mut self) -> Result<(), Fault> {
        for (statement, _) in self.block()? {
            if let Statement::Set(path, setting) = statement {
                let value = match setting {
                    Setting::Integer(value) => EnvironmentValue::Integer(i64::try_from(value).unwrap_or(i64::MAX)),
                    Setting::Text(text) => EnvironmentValue::Text(text),
                    Setting::Path(path) => EnvironmentValue::Text(path.join(".")),
                };
                self.metadata.environment.push((path.join("."), value));
            }
        }
        Ok(())
    }

    fn clock(&mut self, start: usize) -> Result<(), Fault> {
        let mut clock = Clock::default();
        for (statement, at) in self.block()? {
            let Statement::Set(path, setting) = statement else { continue };
            let word = setting.word().map(str::to_owned);
            match path.join(".").as_str() {
                "name" => clock.name = word.unwrap_or_default(),
                "uuid" => clock.uuid = word,
                "description" => clock.description = word,
                "freq" => clock.frequency = Self::unsigned(&setting, at, "freq")?,
                "precision" => clock.precision = Some(Self::unsigned(&setting, at, "precision")?),
                "offset_s" => clock.offset_s = Self::signed(&setting, at, "offset_s")?,
                "offset" => clock.offset_cycles = Self::signed(&setting, at, "offset")?,
                "absolute" => clock.absolute = is_true(&setting),
                _ => {}
            }
        }
        if clock.name.is_empty() {
            return Err(Fault::new(start, "a clock without a name"));
        }
        if clock.frequency == 0 {
            return Err(Fault::new(start, "a clock whose frequency is 0"));
        }
        if self.metadata.clocks.iter().any(|other| other.name == clock.name) {
            return Err(Fault::new(start, format!("a second clock `{}`", clock.name)));
        }
        if self.metadata.clocks.len() >= MAX_CLOCKS {
            return Err(Fault::new(start, format!("more than {MAX_CLOCKS} clocks")));
        }
        self.metadata.clocks.push(clock);
        Ok(())
    }

    fn stream(&mut self, start: usize) -> Result<(), Fault> {
        let mut stream = StreamClass::default();
        for (statement, at) in self.block()? {
            match statement {
                Statement::Set(path, setting) if path.join(".") == "id" => {
                    stream.id = Self::unsigned(&setting, at, "a stream's id")?;
                }
                Statement::Layout(path, class) => {
                    let structure = Self::structure(class, at)?;
                    match path.join(".").as_str() {
                        "packet.context" => stream.packet_context = structure,
                        "event.header" => stream.event_header = structure,
                        "event.context" => stream.event_context = structure,
                        _ => {}
                    }
                }
                Statement::Set(..) | Statement::Declaration => {}
            }
        }
        if self.streams.insert(stream.id, self.metadata.streams.len()).is_some() {
            return Err(Fault::new(start, format!("a second stream {}", stream.id)));
        }
        self.metadata.streams.push(stream);
        Ok(())
    }

    fn event(&mut self, start: usize) -> Result<(), Fault> {
        let (context, payload) = (Structure::default(), Structure::default());
        let mut event = EventClass { id: 0, name: String::new(), stream_class: 0, context, payload };
        let mut stream = None;
        for (statement, at) in self.block()? {
            match statement {
                Statement::Set(path, setting) => match path.join(".").as_str() {
                    "id" => event.id = Self::unsigned(&setting, at, "an event's id")?,
                    "stream_id" => stream = Some(Self::unsigned(&setting, at, "stream_id")?),
                    "name" => {
                        event.name = match setting {
                            Setting::Path(path) => path.join("."),
                            Setting::Text(text) => text,
                            Setting::Integer(_) => return Err(Fault::new(at, "an event's name is not a text")),
                        }
                    }
                    _ => {}
                },
                Statement::Layout(path, class) => {
                    let structure = Self::structure(class, at)?;
                    match path.join(".").as_str() {
                        "context" => event.context = structure,
                        "fields" => event.payload = structure,
                        _ => {}
                    }
                }
                Statement::Declaration => {}
            }
        }
        self.events.push((event, stream, start));
        Ok(())
    }

    /// Puts events to their streams and roles to their fields.
    fn finish(mut self) -> Result<Metadata, Fault> {
        let end = self.offset();
        if !self.seen_trace {
            return Err(Fault::new(end, "no trace block"));
        }
        let mut metadata = self.metadata;
        if metadata.streams.is_empty() && !self.events.is_empty() {
            metadata.streams.push(StreamClass::default());
            self.streams.insert(0, 0);
        }
        let mut seen = HashSet::new();
        for (mut event, stream, at) in std::mem::take(&mut self.events) {
            let only = metadata.streams.first().map_or(0, |stream| stream.id);
            event.stream_class = stream.unwrap_or(only);
            let id = event.stream_class;
            let found = self.streams.get(&id).and_then(|&index| metadata.streams.get_mut(index));
            let Some(found) = found else {
                return Err(Fault::new(at, format!("an event of stream {id}, which there is not")));
            };
            if !seen.insert((id, event.id)) {
                return Err(Fault::new(at, format!("a second event {} in stream {id}", event.id)));
            }
            found.events.push(event);
        }
        roles::give(&mut metadata);
        Ok(metadata)
    }
}

pub(super) fn is_true(setting: &Setting) -> bool {
    match setting {
        Setting::Integer(value) => *value != 0,
        _ => setting.word().is_some_and(|word| word.eq_ignore_ascii_case("true")),
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u32> = text.chars().filter(|&c| c != '-').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, two) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (two[0] * 16 + two[1]) as u8;
    }
    Some(uuid)
}
