//! `os-release(5)`: what an image says that it is. [`crate::compose`] writes it.

pub use formats::os_release::{IMAGE, PATH, VERSION, fields};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::system::os_release;
    use crate::recipe::model::{Name, Os};

    fn name(text: &str) -> Name {
        Name::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let os = Os { id: name("x"), name: "X \"$1\" `\\".into(), version: "1.2 \"b\"".into() };
        let fields = fields(&os_release(&os, &name("base")));
        assert_eq!(fields["NAME"], os.name);
        assert_eq!(fields[VERSION], os.version);
        assert_eq!(fields[IMAGE], "base");
    }
}
