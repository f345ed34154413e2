//! The grammar of srs.conf, which is nginx's: `name arg…;` or `name arg… { … }`.
//!
//! A line's end is plain white space, `#` starts a comment only where a word could start, quotes know no escapes.

use super::Fault;

/// How deep blocks may nest.
const MAX_DEPTH: usize = 16;

/// One directive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directive {
    /// The first word.
    pub name: String,
    /// The words behind it.
    pub args: Vec<String>,
    /// What stands in its block.
    pub children: Vec<Directive>,
    /// The line of its name, from 1.
    pub line: usize,
}

impl Directive {
    /// The first child of that name; later ones of the same name don't count, as in SRS.
    pub fn get(&self, name: &str) -> Option<&Directive> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The child of that name and first argument.
    pub fn get_named(&self, name: &str, arg: &str) -> Option<&Directive> {
        self.children.iter().find(|child| child.name == name && child.arg() == Some(arg))
    }

    /// All children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first argument.
    pub fn arg(&self) -> Option<&str> {
        self.args.first().map(String::as_str)
    }

    /// The first argument of the child of that name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.get(name)?.arg()
    }

    /// A switch that is off unless it says `on`.
    pub fn on(&self, name: &str) -> bool {
        self.value(name) == Some("on")
    }

    /// A switch that is on unless it says `off`.
    pub fn not_off(&self, name: &str) -> bool {
        self.value(name) != Some("off")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `""`: a word that is dropped.
    Nothing,
    Semicolon,
    Open,
    Close,
}

/// Parses a text; the result is a nameless root.
pub fn parse(text: &str) -> Result<Directive, Fault> {
    let mut tokens = Tokens { text: text.as_bytes(), at: 0, line: 1 };
    let mut root = Directive { line: 1, ..Directive::default() };
    block(&mut tokens, &mut root, 0)?;
    Ok(root)
}

fn block(tokens: &mut Tokens<'_>, into: &mut Directive, depth: usize) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::new(tokens.line, format!("blocks nest deeper than {MAX_DEPTH} levels")));
    }
    loop {
        let mut words = Vec::new();
        let mut line = tokens.line;
        loop {
            let token = tokens.next(words.is_empty())?;
            match token {
                Some(Token::Word(word)) => {
                    if words.is_empty() {
                        line = tokens.line;
                    }
                    words.push(word);
                }
                Some(Token::Nothing) => {}
                Some(end @ (Token::Semicolon | Token::Open)) => {
                    if words.is_empty() {
                        let sign = if end == Token::Open { "{" } else { ";" };
                        return Err(Fault::new(
                            tokens.line,
                            format!("{sign:?} without a directive before it"),
                        ));
                    }
                    let name = words.remove(0);
                    let mut directive = Directive { name, args: words, children: Vec::new(), line };
                    if end == Token::Open {
                        block(tokens, &mut directive, depth + 1)?;
                    }
                    into.children.push(directive);
                    break;
                }
                Some(Token::Close) => {
                    if depth == 0 {
                        return Err(Fault::new(tokens.line, "\"}\" without a block"));
                    }
                    return Ok(());
                }
                None => {
                    if let Some(name) = words.first() {
                        let message =
                            format!("{name:?} is not finished: \";\" or \"{{\" is expected before the end");
                        return Err(Fault::new(line, message));
                    }
                    if depth > 0 {
                        let message =
                            format!("the block of {:?} is not closed: \"}}\" is expected", into.name);
                        return Err(Fault::new(into.line, message));
                    }
                    return Ok(());
                }
            }
        }
    }
}

struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Tokens<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self, first: bool) -> Result<Option<Token>, Fault> {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                    continue;
                }
                _ => break,
            }
            self.at += 1;
        }
        let Some(byte) = self.peek() else { return Ok(None) };
        let sign = match byte {
            b';' => Some(Token::Semicolon),
            b'{' => Some(Token::Open),
            b'}' if first => Some(Token::Close),
            _ => None,
        };
        if sign.is_some() {
            self.at += 1;
            return Ok(sign);
        }
        if byte == b'"' || byte == b'\'' {
            return self.quoted(byte).map(Some);
        }
        let start = self.at;
        while self.peek().is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{')) {
            self.at += 1;
        }
        Ok(Some(Token::Word(String::from_utf8_lossy(&self.text[start..self.at]).into_owned())))
    }

    fn quoted(&mut self, quote: u8) -> Result<Token, Fault> {
        let (start, line) = (self.at + 1, self.line);
        self.at += 1;
        while let Some(byte) = self.peek() {
            if byte == quote {
                let word = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
                self.at += 1;
                if !matches!(self.peek(), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{')) {
                    let message = "white space, \";\" or \"{\" is expected after a closing quote";
                    return Err(Fault::new(self.line, message));
                }
                return Ok(if word.is_empty() { Token::Nothing } else { Token::Word(word) });
            }
            if byte == b'\n' {
                self.line += 1;
            }
            self.at += 1;
        }
        Err(Fault::new(line, "a quote is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as one line: `name[arg,arg]{…}`.
    fn show(directive: &Directive) -> String {
        let list = |items: Vec<String>| items.join(" ");
        let children = list(directive.children.iter().map(show).collect());
        let args = directive.args.join(",");
        match directive.name.is_empty() {
            true => children,
            false => format!("{}[{args}]{{{children}}}", directive.name),
        }
    }

    #[test]
    fn what_the_grammar_takes() {
        for (text, expected) in [
            ("", ""),
            ("listen 1935;", "listen[1935]{}"),
            ("a 1 2;b{c 3;}", "a[1,2]{} b[]{c[3]{}}"),
            ("a x#y; # comment ; {\nb;", "a[x#y]{} b[]{}"),
            ("a \"x ; {\" 'y \"';", "a[x ; {,y \"]{}"),
            ("a \"\" b;", "a[b]{}"),
            ("listen 1935\nmax_connections 1;", "listen[1935,max_connections,1]{}"),
            ("a x}y;", "a[x}y]{}"),
            ("v n { }", "v[n]{}"),
        ] {
            assert_eq!(show(&parse(text).unwrap()), expected, "{text:?}");
        }
    }

    #[test]
    fn what_it_refuses_names_the_line() {
        for (text, line, part) in [
            ("a {\n b 1;\n", 1, "not closed"),
            ("a 1;\n;", 2, "without a directive"),
            ("\n{", 2, "without a directive"),
            ("a;\n}", 2, "without a block"),
            ("\na 1", 2, "not finished"),
            ("a 'x;\n", 1, "quote"),
            ("a 'x'y;", 1, "after a closing quote"),
            (&"a{".repeat(100), 1, "nest deeper"),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{text:?}: {}", fault.message);
            assert!(fault.message.contains(part), "{text:?}: {}", fault.message);
        }
    }
}
