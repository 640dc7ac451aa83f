//! Control data: paragraphs of `Field: value`, whose values go on in lines that begin with a
//! blank. Format: deb822(5). Values are slices of the input; nothing is copied.

/// One field of a paragraph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written; names are compared without regard to case.
    pub name: &'a str,
    /// All of the value: the rest of the first line and the lines that continue it, without the
    /// blanks at both ends. It begins with a line feed if the first line is empty.
    pub value: &'a str,
    /// The line of the name, counted from 1.
    pub line: usize,
}

impl<'a> Field<'a> {
    /// The value's lines, blanks at both ends taken away, without empty ones and comments.
    pub fn lines(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let first = self.value.split('\n').take(1);
        let rest = self.value.split('\n').skip(1).filter(|line| !line.starts_with('#'));
        first.chain(rest).map(str::trim).filter(|line| !line.is_empty())
    }

    /// The value's words.
    pub fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.lines().flat_map(str::split_whitespace)
    }
}

/// Fields that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paragraph<'a> {
    // Invariant: not empty, no name twice.
    fields: Vec<Field<'a>>,
}

impl<'a> Paragraph<'a> {
    /// The fields in the order of the text.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The field of this name, in any case.
    pub fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// The value of the field of this name, in any case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.field(name).map(|field| field.value)
    }
}

/// The text is not control data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ControlError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: ControlProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlProblem {
    /// A line which should begin a field has no colon.
    #[error("expected `Field: value`")]
    NoColon,
    /// The name is empty, or has characters other than printable ASCII.
    #[error("the name of the field is not printable ASCII")]
    BadName,
    /// A line begins with a blank and there is no field that it could continue.
    #[error("there is no field that this line continues")]
    NothingToContinue,
    /// The paragraph has had a field of this name.
    #[error("field `{0}` stands twice in one paragraph")]
    Twice(String),
    /// The paragraph has more fields than any has that somebody wrote.
    #[error("the paragraph has more than {MOST} fields")]
    TooMany,
}

/// Each field is compared with all before it; those of Debian have some thirty.
const MOST: usize = 1000;

/// The paragraphs of `text`, which are parted by empty lines. After an error there is no more.
pub const fn paragraphs(text: &str) -> Paragraphs<'_> {
    paragraphs_from(text, 1)
}

/// As [`paragraphs`], for a piece of a longer text: its first line has this number in errors.
pub const fn paragraphs_from(text: &str, first_line: usize) -> Paragraphs<'_> {
    Paragraphs { rest: text, line: first_line }
}

/// See [`paragraphs`].
#[derive(Debug, Clone)]
pub struct Paragraphs<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Paragraphs<'a> {
    fn parse(&mut self) -> Result<Option<Paragraph<'a>>, ControlError> {
        let text = self.rest;
        let mut fields: Vec<Field<'a>> = Vec::new();
        // Where the value of the last field begins.
        let mut start = 0;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let number = self.line;
            let error = |problem| ControlError { line: number, problem };
            at += line.len();
            self.line += 1;
            self.rest = &text[at..];
            if line.trim().is_empty() {
                if fields.is_empty() {
                    continue;
                }
                break;
            }
            if line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                let field =
                    fields.last_mut().ok_or_else(|| error(ControlProblem::NothingToContinue))?;
                field.value = trim(&text[start..at]);
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(error(ControlProblem::NoColon))?;
            let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
            if name.is_empty() || name.starts_with('-') || !printable {
                return Err(error(ControlProblem::BadName));
            }
            if fields.iter().any(|field| field.name.eq_ignore_ascii_case(name)) {
                return Err(error(ControlProblem::Twice(name.to_owned())));
            }
            if fields.len() == MOST {
                return Err(error(ControlProblem::TooMany));
            }
            start = at - value.len();
            fields.push(Field { name, value: trim(value), line: number });
        }
        Ok(if fields.is_empty() { None } else { Some(Paragraph { fields }) })
    }
}

/// The line feed of an empty first line stays: a comment may follow it, but never stand in it.
fn trim(value: &str) -> &str {
    value.trim_start_matches([' ', '\t']).trim_end()
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.parse();
        if result.is_err() {
            self.rest = "";
        }
        result.transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Paragraph<'_> {
        let mut all: Vec<_> = paragraphs(text).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn paragraphs_are_parted_by_empty_lines() {
        let text = "\n\nPackage: a\nVersion: 1\n \t\n\nPackage: b\r\n\r\n";
        let names: Vec<_> =
            paragraphs(text).map(|paragraph| paragraph.unwrap().get("package").unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(paragraphs("").next(), None);
        assert_eq!(paragraphs("# only a comment\n").next(), None);
    }

    #[test]
    fn a_value_goes_on_in_lines_that_begin_with_a_blank() {
        let paragraph = one("Description: short\n long\n .\n\tmore\nURIs:\n# no\n a b\n#c\n d\n");
        assert_eq!(paragraph.get("description"), Some("short\n long\n .\n\tmore"));
        let lines: Vec<_> = paragraph.field("Description").unwrap().lines().collect();
        assert_eq!(lines, ["short", "long", ".", "more"]);
        let words: Vec<_> = paragraph.field("URIs").unwrap().words().collect();
        assert_eq!(words, ["a", "b", "d"]);
    }

    #[test]
    fn values_may_be_empty_and_hold_colons() {
        let paragraph = one("Empty:\nUrl: http://mirror.example/");
        assert_eq!(paragraph.get("Empty"), Some(""));
        assert_eq!(paragraph.get("Url"), Some("http://mirror.example/"));
        assert_eq!(paragraph.get("Other"), None);
    }

    #[test]
    fn a_paragraph_has_no_more_fields_than_can_be_compared() {
        let text = |number: usize| (0..number).map(|n| format!("F{n}: x\n")).collect::<String>();
        assert_eq!(one(&text(MOST)).fields().len(), MOST);
        let error = paragraphs(&text(MOST + 1)).next().unwrap().unwrap_err();
        assert_eq!((error.line, error.problem), (MOST + 1, ControlProblem::TooMany));
    }

    #[test]
    fn an_error_names_its_line_and_ends_the_text() {
        for (text, line, problem) in [
            ("A: 1\nB\nC: 1", 2, ControlProblem::NoColon),
            ("A: 1\n\n b", 3, ControlProblem::NothingToContinue),
            (": 1", 1, ControlProblem::BadName),
            ("A B: 1", 1, ControlProblem::BadName),
            ("-A: 1", 1, ControlProblem::BadName),
            ("Ä: 1", 1, ControlProblem::BadName),
            ("A: 1\na: 2", 2, ControlProblem::Twice("a".into())),
        ] {
            let last = paragraphs(text).last().unwrap();
            assert_eq!(last, Err(ControlError { line, problem }), "{text:?}");
        }
        let error = paragraphs_from("B", 7).next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "line 7: expected `Field: value`");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s)([-A:# \t\r\n]|.){0,80}") {
            for paragraph in paragraphs(&text).flatten() {
                prop_assert!(!paragraph.fields().is_empty());
                for field in paragraph.fields() {
                    prop_assert_eq!(field.value, trim(field.value));
                    field.words().for_each(drop);
                }
            }
        }
    }
}
