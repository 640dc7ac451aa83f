//! The plan of a FAT32 volume: sizes, names, and where files come to lie.

use super::super::LEAST_CLUSTERS;
use super::*;

const MIB: u64 = 1 << 20;

fn options(size: u64) -> Options {
    Options { size, first_lba: 2048, volume_id: 1, label: "ESP".to_owned(), epoch: 0 }
}

fn file(path: &str, size: u64) -> File {
    File { path: path.to_owned(), alias: None, content: Content::External { id: 0, size } }
}

fn refused(files: Vec<File>) -> FatError {
    Plan::new(&options(64 * MIB), files).unwrap_err()
}

#[test]
fn an_esp_of_128_mib_is_fat32_and_its_data_area_begins_on_a_page() {
    let geometry = Geometry::new(128 * MIB).unwrap();
    assert!(geometry.clusters >= LEAST_CLUSTERS, "{geometry:?}");
    assert!(geometry.fat_sectors * 128 >= geometry.clusters + 2, "{geometry:?}");
    assert_eq!(geometry.offset(2) % 4096, 0);
}

#[test]
fn the_least_size_is_just_enough_to_be_fat32() {
    assert_eq!(Geometry::new(LEAST_SIZE).unwrap().clusters, LEAST_CLUSTERS);
    assert_eq!(
        Geometry::new(LEAST_SIZE - SECTOR).unwrap_err(),
        FatError::Size(LEAST_SIZE - SECTOR)
    );
    assert!(Geometry::new(LEAST_SIZE + 1).is_err());
    let most = Geometry::new(MOST_SIZE).unwrap();
    assert!(most.clusters < 0x0FFF_FFF5 && most.fat_sectors * 128 >= most.clusters + 2);
}

#[test]
fn files_are_contiguous_and_large_ones_begin_on_a_page() {
    let files = vec![file("a", 100), file("EFI/Linux/2a.efi", 5 * MIB), file("b", 0)];
    let plan = Plan::new(&options(64 * MIB), files).unwrap();
    let extent = plan.file_extent("efi/linux/2A.EFI").unwrap();
    assert_eq!((extent.offset % 4096, extent.length), (0, 5 * MIB));
    assert_eq!(plan.file_extent("b"), Some(Extent { offset: 0, length: 0 }));
    assert_eq!(plan.file_extent("EFI/Linux"), None);
    assert_eq!(plan.directory_sector("a"), None);
    let sector = plan.directory_sector("EFI/Linux").unwrap();
    assert_eq!(sector % SECTOR, 0);
    let segments = plan.segments();
    let at = |offset| segments.iter().find(|segment| segment.offset == offset).unwrap();
    assert_eq!(at(extent.offset).piece, Piece::External(0));
    assert_eq!(at(sector).length, 4 * 32);
}

#[test]
fn segments_cover_the_volume_once() {
    let files = vec![file("a", 1), file("d/b", 4096), file("d/c", 513), file("empty", 0)];
    let plan = Plan::new(&options(64 * MIB), files).unwrap();
    let mut end = 0;
    for segment in plan.segments() {
        assert_eq!(segment.offset, end);
        assert!(segment.length > 0);
        end += segment.length;
    }
    assert_eq!(end, 64 * MIB);
}

#[test]
fn a_directory_beyond_a_sector_has_no_single_sector() {
    let files = (0..6).map(|at| file(&format!("d/a name of two pieces {at}"), 0)).collect();
    let plan = Plan::new(&options(64 * MIB), files).unwrap();
    assert_eq!(plan.directory_sector("d"), None);
}

#[test]
fn what_fat_cannot_hold_is_refused() {
    let path = |text: &str| FatError::Path(text.to_owned());
    for text in ["", "a//b", "/a", "a/", ".", "a/..", "a.", "a ", " a", "a:b", "a\u{7}"] {
        assert_eq!(refused(vec![file(text, 1)]), path(text), "{text:?}");
    }
    assert_eq!(refused(vec![file(&"n".repeat(256), 1)]), path(&"n".repeat(256)));
    let exists = |text: &str| FatError::Exists(text.to_owned());
    assert_eq!(refused(vec![file("a", 1), file("A", 1)]), exists("A"));
    assert_eq!(refused(vec![file("a", 1), file("a/b", 1)]), exists("a/b"));
    assert_eq!(refused(vec![file("a/b", 1), file("a", 1)]), exists("a"));
    let alias = Alias::new("X").ok();
    let twins = ["a", "b"].map(|name| File { alias, ..file(name, 1) });
    assert_eq!(refused(twins.to_vec()), FatError::AliasTaken("b".to_owned()));
    let size = 1 << 32;
    let error = FatError::FileTooLarge { path: "a".to_owned(), size };
    assert_eq!(refused(vec![file("a", size)]), error);
    assert!(matches!(refused(vec![file("a", 64 * MIB)]), FatError::Full { .. }));
    for text in ["", "esp", "TWELVE-CHARS", "A B"] {
        let options = Options { label: text.to_owned(), ..options(64 * MIB) };
        assert_eq!(Plan::new(&options, vec![]).unwrap_err(), FatError::Label(text.to_owned()));
    }
}

#[test]
fn short_names_follow_from_long_ones() {
    let mut directory = Directory::below(0);
    for name in ["BOOTX64.EFI", "Linux", "loader.conf", "loader.config", ".hidden", "zwölf.x"] {
        let child = Child { name: name.to_owned(), alias: None, node: Node::File(0) };
        directory.children.insert(name.to_uppercase(), child);
    }
    directory.name_aliases().unwrap();
    let alias = |name: &str| directory.children[name].alias.unwrap().to_string();
    assert_eq!(alias("BOOTX64.EFI"), "BOOTX64.EFI");
    assert_eq!(alias("LINUX"), "LINUX");
    assert_eq!(alias("LOADER.CONF"), "LOADER~1.CON");
    assert_eq!(alias("LOADER.CONFIG"), "LOADER~2.CON");
    assert_eq!(alias(".HIDDEN"), "HIDDEN~1");
    assert_eq!(alias("ZWÖLF.X"), "ZW_LF~1.X");
}
