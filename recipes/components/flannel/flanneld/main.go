// Program flanneld is flannel's daemon for a cluster's pod network, of flannel's own packages, with
// the back ends vxlan and host-gw and rules in nftables. Flannel's own program links the libraries of
// clouds and works by iptables as well; neither is of use where this one runs, in tests.
package main

import (
	"context"
	"errors"
	"flag"
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
	flag.Parse()
	if err := run(*network, *link); err != nil {
		klog.Fatal(err)
	}
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
	// Nothing of an earlier lease is left: rules do not outlive a boot, and a lease outlives it.
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
