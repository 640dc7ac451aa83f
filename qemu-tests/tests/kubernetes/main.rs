//! Nodes in a real cluster: etcd, API server, controller manager and scheduler on this host, nodes
//! in QEMU. Each test is a sentence; what it measures is printed, never asserted.
//!
//! Needs `ORLOP`, `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`: `cargo xtask test` builds the images and
//! sets them.

mod certificates;
mod crash;
mod faults;
mod flannel;
mod fleets;
mod hangs;
mod host_ports;
mod modules;
mod plugs;
mod pods;
mod restart;
mod rights;
mod rooms;
mod security;
mod services;
mod trouble;
mod volumes;
mod world;

use std::process::ExitCode;

use qemu_tests::harness::{self, Test, Threads};

/// In the order in which they begin, two at once: tests of the node that is harmed take turns, so what
/// stands between them has another node.
const TESTS: &[(&str, Test)] = &[
    ("a_node_joins_by_bootstrap_token", pods::a_node_joins_by_bootstrap_token),
    ("a_deployment_runs_two_pods_which_kubectl_reaches", pods::a_deployment_runs_two_pods),
    (
        "a_private_registry_a_proxy_routes_and_settings_of_the_kernel_are_used",
        pods::the_keys_of_a_node_are_used,
    ),
    ("volumes_of_every_kind_are_there", pods::volumes_of_every_kind_are_there),
    ("disks_that_are_plugged_in_are_volumes", volumes::plugged_in_disks_are_volumes),
    (
        "the_host_has_the_mounts_devices_and_pages_that_drivers_expect",
        volumes::the_host_has_what_drivers_expect,
    ),
    (
        "units_have_the_rights_that_their_files_leave_them",
        rights::units_have_the_rights_of_their_files,
    ),
    ("root_has_the_rights_that_end_before_the_kernel", rights::root_is_kept_out_of_the_kernel),
    ("pods_are_kept_by_seccomp_and_apparmor_unless_they_say_otherwise", security::pods_are_kept),
    (
        "files_and_settings_of_a_node_are_as_the_cis_benchmark_wants_them",
        security::files_and_settings,
    ),
    ("limits_stand_in_the_cgroup_and_an_oom_kill_is_told", pods::limits_and_an_oom_kill),
    ("the_client_certificate_is_rotated", certificates::the_client_certificate_is_rotated),
    (
        "a_serving_certificate_is_signed_by_the_cluster_when_asked_for",
        certificates::a_serving_certificate_by_the_cluster,
    ),
    ("a_service_by_kube_proxy_answers_from_a_pod", services::a_service_answers_from_a_pod),
    (
        "what_networks_and_volumes_ask_of_the_kernel_is_loaded_when_they_ask",
        modules::what_is_asked_for_is_loaded,
    ),
    ("daemons_and_shims_that_are_killed_come_back", faults::killed_daemons_come_back),
    (
        "flannel_carries_traffic_between_two_nodes_before_and_after_a_reboot",
        flannel::pods_of_two_nodes_reach_each_other,
    ),
    (
        "network_and_log_are_killed_twenty_times_each_and_no_pod_notices",
        rooms::network_and_log_are_killed_and_nobody_notices,
    ),
    (
        "pid_1_has_no_socket_of_the_network_and_no_file_of_state",
        rooms::pid_1_has_no_socket_and_no_file_of_state,
    ),
    ("daemons_that_hang_are_killed_and_no_pod_notices", hangs::daemons_that_hang_are_killed),
    ("a_reboot_and_a_power_cut_bring_the_node_back", restart::a_reboot_and_a_power_cut),
    (
        "a_controllers_job_runs_a_program_of_the_node_and_kured_restarts_it",
        fleets::a_job_reaches_the_node_and_kured_restarts_it,
    ),
    ("a_fork_bomb_stays_in_its_pod", faults::a_fork_bomb_stays_in_its_pod),
    ("hooks_of_pods_run_when_a_node_goes_down", restart::hooks_run_when_a_node_goes_down),
    ("a_memory_hog_stays_in_its_pod", faults::a_memory_hog_stays_in_its_pod),
    ("a_host_port_leads_to_its_pod_on_the_bridge", host_ports::a_host_port_leads_to_its_pod),
    ("a_pod_that_fills_the_disk_is_evicted", faults::a_pod_that_fills_the_disk_is_evicted),
    ("a_pid_1_that_hangs_is_reset_by_the_watchdog", hangs::a_frozen_pid_1_is_reset),
    ("damage_on_state_is_told_while_the_node_runs", faults::damage_on_state_is_told),
    ("a_unit_that_always_fails_is_shown_with_its_last_lines", faults::a_failing_unit_is_shown),
    ("a_power_cut_at_any_moment_leaves_a_node_that_runs_pods", crash::any_power_cut),
    (
        "what_an_earlier_boot_left_is_made_good_or_dropped_with_a_line",
        crash::what_an_earlier_boot_left,
    ),
    ("an_api_server_that_is_away_is_named_and_waited_for", trouble::the_api_server_is_away),
    ("a_wrong_ca_is_named_and_the_right_one_ends_it", trouble::a_wrong_ca_is_named),
    ("what_kubelet_refuses_is_told_with_its_whole_reason", trouble::what_kubelet_refuses),
    ("an_unknown_token_is_named_and_a_good_one_ends_it", trouble::an_unknown_token_is_named),
    ("a_network_without_dhcp_is_named_and_waited_for", trouble::a_network_without_dhcp),
    ("a_clock_of_1970_is_named_and_set", trouble::a_clock_of_1970),
    ("a_name_server_that_is_silent_is_named_and_waited_for", trouble::a_silent_name_server),
];

fn main() -> ExitCode {
    let code = harness::main(TESTS, Threads::PerProcessor);
    // What lies in a static is never dropped, and guests do not end by themselves.
    world::end();
    code
}
