// Program flanneld is flannel's daemon for a cluster's pod network, of flannel's own packages, with
// the back ends vxlan and host-gw and rules in nftables. Flannel's own program links the libraries of
// clouds and works by iptables as well; neither is of use where this one runs, in tests. Of its
// arguments this one takes those that its manifest gives.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	"k8s.io/klog/v2"
)

// What kube-flannel.yml gives the daemon and the plugin.
const (
	subnetFile  = "/run/flannel/subnet.env"
	annotations = "flannel.alpha.coreos.com"
	resync      = 5
)

func main() {
	network := flag.String("net-config-path", "/etc/kube-flannel/net-conf.json", "the network")
	link := flag.String("iface", "", "the link that leads to the other nodes [default: the default route's]")
	masquerade := flag.Bool("ip-masq", true, "masquerade what leaves the network: always")
	kubernetes := flag.Bool("kube-subnet-mgr", true, "ask the API server for the node's part: always")
	health := flag.Uint("healthz-port", 0, "answer at /healthz on this port [0: do not]")
	flag.Parse()
	if !*masquerade || !*kubernetes || flag.NArg() > 0 {
		klog.Fatal("this daemon masquerades, has its part from the API server, and takes no further words")
	}
	if *health > 0 {
		go answer(*health)
	}
	if err := run(*network, *link); err != nil {
		klog.Fatal(err)
	}
}

// answer says on a port that the program runs.
func answer(port uint) {
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	klog.Fatal(http.ListenAndServe(fmt.Sprintf(":%d", port), nil))
}

// run keeps the node's part of the network until it is told to end.
func run(network, link string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	manager, err := kube.NewSubnetManager(ctx, "", "", annotations, network, true)
	if err != nil {
		return err
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	if config == nil {
		return errors.New("there is no network")
	}
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return err
	}
	external, err := ipmatch.LookupExtIface(link, "", "", family, ipmatch.PublicIPOpts{})
	if err != nil {
		return err
	}
	end, err := backend.NewManager(ctx, manager, external).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	joined, err := end.RegisterNetwork(ctx, &running, config)
	if err != nil {
		return err
	}

	var rules nftables.NFTablesManager
	if err := rules.Init(ctx); err != nil {
		return err
	}
	// The rules are made anew: flannel empties its chains first, and looks at no earlier lease, for
	// which the empty networks stand.
	err = rules.SetupAndEnsureMasqRules(ctx, config.Network, ip.IP4Net{}, ip.IP4Net{},
		config.IPv6Network, ip.IP6Net{}, ip.IP6Net{}, joined.Lease(), resync, false)
	if err != nil {
		return err
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resync)

	lease := joined.Lease()
	err = manager.HandleSubnetFile(subnetFile, config, true, lease.Subnet, lease.IPv6Subnet, joined.MTU())
	if err != nil {
		return err
	}
	klog.Info("the pod network is up")
	running.Add(1)
	go func() {
		defer running.Done()
		joined.Run(ctx)
	}()
	if err := manager.CompleteLease(ctx, lease, &running); err != nil {
		return err
	}
	running.Wait()
	return nil
}
