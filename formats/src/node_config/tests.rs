use super::*;

#[test]
fn the_example_is_a_node_on_its_own_with_one_pod() {
    let config = NodeConfig::example().unwrap();
    let kubernetes = config.kubernetes.unwrap();
    assert_eq!(kubernetes.api, Api::Standalone);
    assert_eq!(kubernetes.static_pods.len(), 1);
    assert_eq!(config.cni.unwrap().bridge.to_string(), "10.88.0.0/16");
}
