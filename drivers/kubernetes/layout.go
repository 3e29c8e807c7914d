package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// firstPort is the number of the first port of a service that has no number of its own.
const firstPort = 8080

// portNumbers gives every port of a service its number. Pods have an address each, so
// services need not differ.
func portNumbers(s drivers.Service) map[string]int32 {
	numbers := map[string]int32{}
	taken := map[int32]bool{}
	for port, n := range s.Fixed {
		numbers[port], taken[int32(n)] = int32(n), true
	}
	next := int32(firstPort)
	for _, port := range s.Ports {
		if _, fixed := numbers[port]; fixed {
			continue
		}
		for taken[next] {
			next++
		}
		numbers[port], taken[next] = next, true
	}
	return numbers
}

// maxObjectName leaves room for what the Deployment's controllers append.
const maxObjectName = 40

// objectName is the name of the objects of a service: lower case, beginning with a letter
// and ending with a letter or a digit.
func objectName(service, suffix string) string {
	name := strings.ToLower(service)
	if name[0] < 'a' || name[0] > 'z' {
		name = "s" + name
	}
	if limit := maxObjectName - len(suffix); len(name) > limit {
		name = name[:limit]
	}
	return strings.TrimRight(name, "-") + suffix
}

// objectNames names the objects of every service; two services may not get the same name.
func objectNames(stack drivers.Stack, suffix string) (map[string]string, error) {
	names, owners := map[string]string{}, map[string]string{}
	for _, s := range append(slices.Clone(stack.Dependencies), stack.Subject) { // which has one name at every revision
		name := objectName(s.Name, suffix)
		if other, taken := owners[name]; taken {
			return nil, fmt.Errorf("services %s and %s would both be called %s in Kubernetes", other, s.Name, name)
		}
		names[s.Name], owners[name] = name, s.Name
	}
	return names, nil
}

// instanceMark stands for the instance's ID until a text is in Kubernetes' own notation:
// it cannot be part of an argument.
const instanceMark = "\x00instance\x00"

// inNotation turns a text whose placeholders are filled in into one that Kubernetes
// expands to it: $ is written twice there, and $(NAME) is a variable.
func inNotation(s string) string {
	s = strings.ReplaceAll(s, "$", "$$")
	return strings.ReplaceAll(s, instanceMark, "$("+instanceVariable+")")
}

// command is what a service is run with, in Kubernetes' notation.
func command(s drivers.Service, places drivers.Places) (args []string, env map[string]string, err error) {
	places.Instance = instanceMark
	args, env, err = places.Command(s)
	if err != nil {
		return nil, nil, err
	}
	for i := range args {
		args[i] = inNotation(args[i])
	}
	for k := range env {
		if k == instanceVariable {
			return nil, nil, fmt.Errorf("variable %s of %s is the driver's own", k, s.Name)
		}
		env[k] = inNotation(env[k])
	}
	return args, env, nil
}

// namesInstance says whether a command in Kubernetes' notation needs the instance's ID. One
// that does not gets nothing of the driver's into its environment.
func namesInstance(args []string, env map[string]string) bool {
	names := func(s string) bool { return strings.Contains(s, "$("+instanceVariable+")") }
	return slices.ContainsFunc(args, names) || slices.ContainsFunc(slices.Collect(maps.Values(env)), names)
}

// listenPlaces is what ${listen.PORT} stands for in a service.
func listenPlaces(numbers map[string]int32) map[string]string {
	out := map[string]string{}
	for port, n := range numbers {
		out[port] = fmt.Sprintf("0.0.0.0:%d", n)
	}
	return out
}

// sortedKeys are the keys of a map in order, so that the same stack always makes the same
// objects: a template that differs by the order of its parts would start a rollout.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
