package systemd

import (
	"flag"
	"strings"
)

// Flags defines the driver's command-line flags, which set fields of c.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Host, "systemd-host", c.Host, "`HOST`: user, system or container (default: the first that is there)")
	fs.StringVar(&c.Image, "systemd-image", c.Image, "`IMAGE` with systemd for a container (default: one that is built)")
	fs.Func("systemd-package", "Debian `PACKAGE` in an image that is built; several with commas", func(s string) error {
		c.Packages = append(c.Packages, strings.Split(s, ",")...)
		return nil
	})
}
