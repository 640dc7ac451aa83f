//! What Go is told: if this changes, `go` of `builder/src/step.rs` has a new version.

use expect_test::expect;

use super::*;

/// Writes down what it was called with instead of compiling.
const RECORDS: &str = r#"
if [ "$1" != build ]; then exec "$GO" "$@"; fi
for word; do
    case "$before" in -o) out=$word; word=OUT;; -p) word=JOBS;; esac
    before=$word
    said="$said$word
"
done
{
    printf '%s' "$said"
    /usr/bin/env | /usr/bin/grep -vE '^(PWD|OLDPWD|SHLVL|_)=' | LC_ALL=C /usr/bin/sort
} | /bin/sed "s#$ROOT#DIR#g; s#$VERSION#GO#g" > "${out}hello""#;

#[test]
fn what_go_is_told_has_a_version() {
    let directory = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(directory.path()).unwrap();
    let version = host().1;
    let mut go = component(&root, &version);
    go.tags.insert("one".to_owned());
    go.tags.insert("two".to_owned());
    let component = Component::load(&go, Architecture::Amd64).unwrap();
    let proxy = MadeUp::new(root.join("proxy"));
    let script = format!("ROOT='{}'\nVERSION='{version}'\n{RECORDS}", root.display());
    proxy.toolchain(&version, &script);
    let environment = Environment::new([
        ("PATH".into(), std::env::var_os("PATH").unwrap()),
        ("GOPROXY".into(), proxy.url().into()),
        ("GOSUMDB".into(), "off".into()),
    ]);
    let store = Store::open(root.join("store")).unwrap();
    let caches = Caches::below(&root.join("caches"));
    component.fetch(&environment, &caches, &store).unwrap();
    let toolchain = component.toolchain(&store).unwrap();
    let built = component.build(&toolchain, &environment, &caches, &store, 1).unwrap();
    let told = String::from_utf8(store.read_blob(&built[PROGRAM]).unwrap()).unwrap();
    // A directory of its own for each call.
    let lines = told.lines().map(|line| line.split_once("/out-").map_or(line, |(line, _)| line));
    let told: String = lines.map(|line| format!("{line}\n")).collect();
    let version = crate::step::Kind::Go.version();
    expect![[r#"
        version 2
        build
        -trimpath
        -buildvcs=false
        -mod=readonly
        -p
        JOBS
        -ldflags
        -s -w -buildid= -X 'main.text=two words'
        -tags
        one,two
        -o
        OUT
        component.example/hello/cmd/hello
        CGO_ENABLED=0
        GO111MODULE=on
        GOAMD64=v1
        GOARCH=amd64
        GOCACHE=DIR/caches/go-build
        GOENV=off
        GOFLAGS=-modcacherw -mod=readonly
        GOMODCACHE=DIR/caches/go/pkg/mod
        GOOS=linux
        GOPATH=DIR/caches/go
        GOPROXY=file://DIR/caches/go-build
        GOSUMDB=off
        GOTOOLCHAIN=local
        GOWORK=off
        PATH=DIR/caches/go/pkg/mod/golang.org/toolchain@v0.0.1-GO.linux-amd64/bin
    "#]]
    .assert_eq(&format!("version {version}\n{told}"));
}
