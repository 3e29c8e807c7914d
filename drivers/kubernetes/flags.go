package kubernetes

import (
	"errors"
	"flag"
)

// Flags defines the driver's command-line flags, which set fields of c.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Kubeconfig, "kubernetes-kubeconfig", c.Kubeconfig, "`FILE` that says how the cluster is reached (default: as kubectl)")
	fs.StringVar(&c.Context, "kubernetes-context", c.Context, "context `NAME` in the kubeconfig (default: the current one)")
	fs.StringVar(&c.Namespace, "kubernetes-namespace", c.Namespace, "namespace `NAME` to use (default: one for each deployment)")
	fs.StringVar(&c.Image, "kubernetes-image", c.Image, "`IMAGE` of the lab's program, which the nodes have or can pull")
	fs.Func("kubernetes-drain", "`NODE` that a fault may drain, once or more often: it is cordoned meanwhile, and no pods but the run's are evicted", func(node string) error {
		if node == "" {
			return errors.New("want the name of a node")
		}
		c.Drain = append(c.Drain, node)
		return nil
	})
}
