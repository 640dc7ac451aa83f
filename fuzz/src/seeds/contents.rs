//! What a build says of itself, and what its programs say.

use formats::digest::Sha256;

use super::texts;

/// A program that is nothing but one segment with the record at its beginning, and the list alone.
pub(crate) fn go_build_info() -> Vec<Vec<u8>> {
    let list = "path\ta.example/b\nmod\ta.example/b\t(devel)\t\ndep\tc.example/d\tv1.0.0\t\
        h1:x=\n=>\te.example/f\tv1.1.0\th1:y=\nbuild\t-compiler=gc\n";
    let mut record = b"\xff Go buildinf:\x08\x02".to_vec();
    record.resize(32, 0);
    record.push(6);
    record.extend(b"go1.26");
    let framed = [&[b'<'; 16], list.as_bytes(), &[b'>'; 16]].concat();
    // Both lengths are of two groups of seven bits.
    let length = u8::try_from(framed.len() - 128).expect("the list is short");
    record.extend([length | 0x80, 1]);
    record.extend(framed);
    let mut file = vec![0; 128];
    let mut put = |at: usize, value: &[u8]| file[at..at + value.len()].copy_from_slice(value);
    put(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01");
    put(32, &64_u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    put(64, &[1, 0, 0, 0, 6, 0, 0, 0]);
    put(72, &128_u64.to_le_bytes());
    put(80, &0x1000_u64.to_le_bytes());
    put(96, &(record.len() as u64).to_le_bytes());
    put(104, &(record.len() as u64).to_le_bytes());
    file.extend(record);
    vec![file, list.into()]
}

pub(crate) fn contents() -> Vec<Vec<u8>> {
    let digest = Sha256::of("");
    let text = format!(
        r#"{{"schema":1,"image":"a","version":"1","system":"b","architecture":"amd64",
        "components":{{"deb/a":{{"kind":"deb","name":"a","version":"1","architecture":"all",
        "source":"b","suite":"trixie","sha256":"{digest}","licence":"MIT"}}}},
        "libraries":{{"go/a@v1":{{"kind":"go-module","name":"a","version":"v1","sum":"h1:x"}}}},
        "files":[{{"place":"root","path":"/a","component":"deb/a","mode":"0755","uid":0,"gid":0,
        "type":"file","size":1,"sha256":"{digest}","sha1":"ab","libraries":["go/a@v1"]}}]}}"#
    );
    texts(&[&text])
}
