// Command kubeall is every program of a Kubernetes node that is written in Go, in one
// static binary: the components of the control plane, kubelet, kube-proxy, kubeadm,
// kubectl, etcd, CoreDNS, the pod network and the part of crictl that kind calls. Linked
// together they share the libraries that each of them would carry alone. The program that
// runs is the one named by the base name of argv[0], so that symbolic links are all that
// an image needs; "kubeall NAME ..." is the same without a link.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/coredns/coredns/coremain"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlerrors "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/rollout-lab/rollout-lab/images/kindnode/kubeall/podnet"
)

const self = "kubeall"

var programs = map[string]func(){
	"kube-apiserver":          func() { component(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() { component(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() { component(scheduler.NewSchedulerCommand()) },
	"kube-proxy":              func() { component(kubeproxy.NewProxyCommand()) },
	"kubelet":                 func() { component(kubelet.NewKubeletCommand(context.Background())) },
	"kubeadm":                 func() { kubeadmerrors.HandleError(kubeadm.Run()) },
	"kubectl": func() {
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlerrors.CheckErr(err) // prints it as kubectl does, and exits
		}
	},
	"etcd":    func() { etcdmain.Main(os.Args) },
	"coredns": coremain.Run,
	"crictl":  func() { fail(crictl(os.Args[1:], os.Stdout)) },
	"podnet": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		fail(podnet.Run(ctx, podnet.ConfigFromEnv(os.Getenv), os.Stderr))
	},
}

func main() {
	name := filepath.Base(os.Args[0])
	if name == self && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	run, ok := programs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: no program is called %q\n", self, name)
		os.Exit(2)
	}
	run()
}

// component runs a command as the Kubernetes components' own main functions do: with
// their flag normalisation and log flushing.
func component(c *cobra.Command) { os.Exit(cli.Run(c)) }

func fail(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
