//! The members of an object of metadata, taken one by one; what is left is kept as it is.

use super::error::Reason;
use super::json::{Json, Object};

type Result<T> = std::result::Result<T, Reason>;

/// An object whose members are being taken.
#[derive(Debug)]
pub(super) struct Fields {
    /// The way to it, for errors: empty, or `a.b.`.
    path: String,
    members: Object,
}

impl Fields {
    /// Those of a value that must be an object.
    pub(super) fn of(value: Json, path: &str) -> Result<Self> {
        match value {
            Json::Object(members) => Ok(Self { path: path.to_owned(), members }),
            _ => Err(Reason::Shape {
                member: path.trim_end_matches('.').to_owned(),
                want: "an object",
            }),
        }
    }

    /// The way to a member.
    pub(super) fn path(&self, member: &str) -> String {
        format!("{}{member}", self.path)
    }

    /// That a member is not what it should be.
    pub(super) fn wrong(&self, member: &str, want: &'static str) -> Reason {
        Reason::Shape { member: self.path(member), want }
    }

    /// A member that may be away.
    pub(super) fn optional(&mut self, member: &str) -> Option<Json> {
        self.members.remove(member)
    }

    pub(super) fn text(&mut self, member: &str) -> Result<String> {
        match self.optional(member) {
            Some(Json::Text(text)) => Ok(text),
            _ => Err(self.wrong(member, "a text")),
        }
    }

    pub(super) fn flag(&mut self, member: &str) -> Result<Option<bool>> {
        match self.optional(member) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(member, "true or false")),
        }
    }

    pub(super) fn number(&mut self, member: &str) -> Result<u64> {
        self.optional_number(member)?.ok_or_else(|| self.wrong(member, "a number"))
    }

    pub(super) fn optional_number(&mut self, member: &str) -> Result<Option<u64>> {
        match self.optional(member) {
            None => Ok(None),
            Some(Json::Integer(number)) => {
                let number = u64::try_from(number);
                Ok(Some(number.map_err(|_| self.wrong(member, "a number that is not negative"))?))
            }
            Some(_) => Err(self.wrong(member, "a number")),
        }
    }

    /// A number from 1.
    pub(super) fn positive(&mut self, member: &str) -> Result<u64> {
        let number = self.number(member)?;
        if number == 0 {
            return Err(self.wrong(member, "a number from 1"));
        }
        Ok(number)
    }

    pub(super) fn list(&mut self, member: &str) -> Result<Vec<Json>> {
        match self.optional(member) {
            Some(Json::List(items)) => Ok(items),
            _ => Err(self.wrong(member, "a list")),
        }
    }

    pub(super) fn texts(&mut self, member: &str) -> Result<Vec<String>> {
        let items = self.list(member)?.into_iter().map(|item| match item {
            Json::Text(text) => Ok(text),
            _ => Err(self.wrong(member, "a list of texts")),
        });
        items.collect()
    }

    /// The members of a member.
    pub(super) fn object(&mut self, member: &str) -> Result<Object> {
        match self.optional(member) {
            Some(Json::Object(members)) => Ok(members),
            _ => Err(self.wrong(member, "an object")),
        }
    }

    /// The members of a member, to be taken.
    pub(super) fn fields(&mut self, member: &str) -> Result<Self> {
        Ok(Self { members: self.object(member)?, path: format!("{}.", self.path(member)) })
    }

    /// What nobody took.
    pub(super) fn rest(self) -> Object {
        self.members
    }
}

/// A number as JSON has it; what is larger than any that can be read becomes the largest.
pub(super) fn integer(number: u64) -> Json {
    Json::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A list of texts.
pub(super) fn texts<'a>(items: impl IntoIterator<Item = &'a String>) -> Json {
    Json::List(items.into_iter().map(|item| Json::Text(item.clone())).collect())
}

/// An object of these members and of those that were not understood.
pub(super) fn object<const N: usize>(members: [(&str, Json); N], more: &Object) -> Json {
    let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
    Json::Object(more.clone().into_iter().chain(members).collect())
}
