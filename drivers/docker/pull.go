package docker

import (
	"context"
	"errors"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	testcontainers "github.com/testcontainers/testcontainers-go"
)

// pull gets an image from its registry, with the credentials that the docker command has
// for it. It tries once: testcontainers itself would try for a quarter of an hour.
func pull(ctx context.Context, e *engine, name string) error {
	var options image.PullOptions
	_, auth, noAuth := testcontainers.DockerImageAuth(ctx, name)
	if noAuth == nil {
		var err error
		if options.RegistryAuth, err = registry.EncodeAuthConfig(auth); err != nil {
			return err
		}
	}
	// Most images need no credentials, so that it matters only now whether there are any.
	progress, err := e.client.ImagePull(ctx, name, options)
	if err != nil {
		return errors.Join(err, noAuth)
	}
	defer progress.Close()
	return readProgress(progress)
}
