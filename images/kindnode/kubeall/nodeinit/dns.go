package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
)

const (
	resolvConf    = "/etc/resolv.conf"
	podResolvConf = "/kind/pod-resolv.conf" // the kubelet's --resolv-conf
	dockerDNS     = "127.0.0.11"
	dockerChain   = "DOCKER_OUTPUT"
)

// forwardDNS makes Docker's resolver reachable for pods. It listens on a loopback address
// in the node's network namespace, behind rules that Docker made there; pods are told to
// ask the node's gateway instead, and what they ask of it is sent to the resolver.
func forwardDNS() error {
	conf, err := os.ReadFile(resolvConf)
	if err != nil {
		return err
	}
	if strings.Contains(string(conf), dockerDNS) {
		routes, err := os.ReadFile("/proc/net/route")
		if err != nil {
			return err
		}
		gateway, ok := defaultGateway(string(routes))
		if !ok {
			say("no default route: pods cannot ask Docker's resolver")
		} else {
			if err := redirect(gateway); err != nil {
				return err
			}
			conf = []byte(strings.ReplaceAll(string(conf), dockerDNS, gateway.String()))
		}
	}
	return os.WriteFile(podResolvConf, conf, 0o644)
}

// redirect sends DNS queries to the gateway where Docker sends those to its resolver.
func redirect(gateway netip.Addr) error {
	// Docker uses the variant of the host, which need not be the image's default.
	var lastErr error
	for _, iptables := range []string{"iptables-nft", "iptables-legacy"} {
		rules, err := exec.Command(iptables, "-w", "-t", "nat", "-S", dockerChain).CombinedOutput()
		if err != nil {
			lastErr = fmt.Errorf("%s: %w: %s", iptables, err, strings.TrimSpace(string(rules)))
			continue
		}
		for proto, to := range destinations(string(rules)) {
			for _, chain := range []string{"OUTPUT", "PREROUTING"} {
				rule := []string{"-w", "-t", "nat", "-A", chain, "-d", gateway.String(), "-p", proto, "--dport", "53", "-j", "DNAT", "--to-destination", to}
				if out, err := exec.Command(iptables, rule...).CombinedOutput(); err != nil {
					return fmt.Errorf("%s %s: %w: %s", iptables, strings.Join(rule, " "), err, strings.TrimSpace(string(out)))
				}
			}
		}
		return nil
	}
	return fmt.Errorf("no rules of Docker's resolver: %w", lastErr)
}

// destinations finds, in the rules of Docker's chain, the address and port that each
// protocol's queries are sent to.
func destinations(rules string) map[string]string {
	to := map[string]string{}
	for line := range strings.Lines(rules) {
		var proto, dst string
		words := strings.Fields(line)
		for i := 0; i+1 < len(words); i++ {
			switch words[i] {
			case "-p":
				proto = words[i+1]
			case "--to-destination":
				dst = words[i+1]
			}
		}
		if proto != "" && dst != "" {
			to[proto] = dst
		}
	}
	return to
}

// defaultGateway reads the gateway of the default route from /proc/net/route.
func defaultGateway(table string) (netip.Addr, bool) {
	lines := bufio.NewScanner(strings.NewReader(table))
	for lines.Scan() {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask ...: hexadecimal, in the
		// machine's byte order.
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(f[2])
		if err != nil || len(raw) != 4 {
			continue
		}
		var ip [4]byte
		binary.NativeEndian.PutUint32(ip[:], binary.BigEndian.Uint32(raw))
		if gateway := netip.AddrFrom4(ip); !gateway.IsUnspecified() {
			return gateway, true
		}
	}
	return netip.Addr{}, false
}
