package kind

import (
	"flag"
	"fmt"
	"strconv"
)

// Flags defines the driver's command-line flags, which set fields of c.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Cluster, "kind-cluster", c.Cluster, "`NAME` of a cluster to use, or to make (default: one for this run)")
	fs.BoolVar(&c.Keep, "kind-keep", c.Keep, "leave a cluster that was made for the next run")
	fs.Func("kind-workers", "nodes of a cluster that is made (`N`), beside the control plane, which then runs no instances", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return fmt.Errorf("want a number from 0 on")
		}
		c.Workers = n
		return nil
	})
	fs.StringVar(&c.NodeImage, "kind-node-image", c.NodeImage, "`IMAGE` of the nodes (default: one of the lab's, kind's, or one that is built)")
}
