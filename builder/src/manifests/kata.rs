//! A RuntimeClass for each handler that an image has for pods in virtual machines.

use serde_json::{Map, Value, json};

use super::Manifests;
use crate::kata::{Handler, handlers};
use crate::recipe::model::{Hypervisor, Kata};

const ABOUT: &str = "\
A pod runs in a virtual machine if its `runtimeClassName` is one of these. The scheduler adds `overhead` to
what the pod asks for, and takes nodes with these labels only: a node gives them to itself at each boot in
which it finds that it can run such pods.";

/// Those of an image with this part of a recipe.
pub fn kata(kata: &Kata) -> Manifests {
    let objects = handlers(kata).iter().map(|handler| object(handler, kata.hypervisor)).collect();
    Manifests { about: ABOUT, objects }
}

fn object(handler: &Handler, hypervisor: Hypervisor) -> Value {
    let (cpu, memory) = handler.overhead(hypervisor);
    let labels = handler.labels().into_iter();
    let labels: Map<_, _> =
        labels.map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    json!({
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": { "name": handler.name },
        "handler": handler.name,
        "overhead": { "podFixed": { "cpu": cpu, "memory": memory } },
        "scheduling": { "nodeSelector": labels },
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn yaml(text: &str) -> String {
        let all = kata(&toml::from_str(text).unwrap()).yaml();
        all.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect()
    }

    #[test]
    fn each_handler_has_its_class() {
        expect![[r#"
            ---
            apiVersion: node.k8s.io/v1
            handler: kata
            kind: RuntimeClass
            metadata:
              name: kata
            overhead:
              podFixed:
                cpu: "250m"
                memory: "130Mi"
            scheduling:
              nodeSelector:
                orlop.dev/kata: "true"
        "#]]
        .assert_eq(&yaml("hypervisor = 'dragonball'"));
        let confidential = yaml("hypervisor = 'qemu'\nguest = 'confidential'");
        let names = |key: &str| -> Vec<String> {
            let lines = confidential.lines().filter_map(|line| line.trim().strip_prefix(key));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(names("handler: "), ["kata-snp", "kata-tdx"]);
        assert_eq!(names("orlop.dev/tee: "), ["snp", "tdx"]);
        assert_eq!(names("memory: "), ["\"2048Mi\"", "\"2048Mi\""]);
    }
}
