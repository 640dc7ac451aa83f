"""Outside readers judge what a build says of itself: the official JSON schemas, and libraries that
others read SBOMs and provenance with. Then advisories are looked for in both forms of the SBOM, as
a scanner does.

    sbom.py BUILD ADVISORIES

Prints a line `FORM ADVISORY PACKAGE VERSION` for each that is found, and fails at the first fault.
"""

import importlib.resources
import json
import pathlib
import sys

import jsonschema
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import ComponentType
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import resource_descriptor, statement, statement_pb2
from packageurl import PackageURL
from spdx_tools.spdx.model import RelationshipType
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document


def fail(what, faults):
    faults = [str(fault)[:500] for fault in faults]
    if faults:
        sys.exit(f"{what}: {len(faults)} faults\n  " + "\n  ".join(faults[:20]))


def spdx(path):
    """Package URLs of the packages, after schema and reader have judged."""
    document = json.loads(path.read_text())
    schemas = importlib.resources.files("lib4sbom") / "schemas" / "spdx" / "2.3-schema.json"
    schema = json.loads(schemas.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    fail("schema of SPDX 2.3", [error.message for error in validator.iter_errors(document)])
    parsed = parse_file(str(path))
    messages = validate_full_spdx_document(parsed)
    fail("spdx-tools", [message.validation_message for message in messages])
    # As scanners that know binary packages do: the source packages would be told a second time.
    sources = {
        relation.related_spdx_element_id
        for relation in parsed.relationships
        if relation.relationship_type == RelationshipType.GENERATED_FROM
    }
    return [
        reference.locator
        for package in parsed.packages
        if package.spdx_id not in sources
        for reference in package.external_references
        if reference.reference_type == "purl"
    ]


def cyclonedx(path):
    text = path.read_text()
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    fail("schema of CycloneDX 1.6", [] if error is None else [error])
    bom = Bom.from_json(json.loads(text))
    bom.validate()
    reached(bom)
    return [component.purl.to_string() for component in bom.components if component.purl]


def reached(bom):
    """Every component is reached from the image, and one of them is the distribution."""
    edges = {
        dependency.ref.value: {on.ref.value for on in dependency.dependencies}
        for dependency in bom.dependencies
    }
    found, waiting = set(), [bom.metadata.component.bom_ref.value]
    while waiting:
        reference = waiting.pop()
        if reference not in found:
            found.add(reference)
            waiting.extend(edges.get(reference, ()))
    components = {component.bom_ref.value for component in bom.components}
    fail("components that nothing leads to", sorted(components - found))
    systems = [
        component.name
        for component in bom.components
        if component.type == ComponentType.OPERATING_SYSTEM
    ]
    if systems != ["debian"]:
        sys.exit(f"cyclonedx: the operating systems are {systems}")


def provenance(path):
    text = path.read_text()
    parsed = json_format.Parse(text, statement_pb2.Statement())
    statement.Statement.copy_from_pb(parsed).validate()
    predicate = json_format.ParseDict(
        json.loads(text)["predicate"], provenance_pb2.Provenance()
    )
    definition = predicate.build_definition
    if not definition.build_type or not predicate.run_details.builder.id:
        sys.exit("provenance: no build type, or no builder")
    for material in definition.resolved_dependencies:
        resource_descriptor.ResourceDescriptor.copy_from_pb(material).validate()
        if not material.digest:
            sys.exit(f"provenance: {material.name} has no digest")


def matches(purl, advisory):
    """Whether a package is one of those that the advisory names."""
    if purl.type != advisory["type"]:
        return False
    name = "/".join(part for part in (purl.namespace, purl.name) if part)
    upstream = purl.qualifiers.get("upstream", "").split("@")
    of_source = upstream[0] or purl.name
    version = upstream[1] if len(upstream) > 1 else purl.version
    found = of_source if purl.type == "deb" else name
    return found == advisory["package"] and version in advisory["versions"]


def main(build, advisories):
    build = pathlib.Path(build)
    advisories = json.loads(pathlib.Path(advisories).read_text())
    provenance(build / "provenance.json")
    for form, purls in (
        ("spdx", spdx(build / "sbom.spdx.json")),
        ("cyclonedx", cyclonedx(build / "sbom.cdx.json")),
    ):
        for text in purls:
            purl = PackageURL.from_string(text)
            if purl.to_string() != text:
                sys.exit(f"{form}: `{text}` should be `{purl.to_string()}`")
            for advisory in advisories:
                if matches(purl, advisory):
                    print(form, advisory["id"], purl.name, purl.version)


if __name__ == "__main__":
    main(*sys.argv[1:])
