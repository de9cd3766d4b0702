package main

import (
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
)

type descriptorCommand struct {
	Module     descriptorModuleCommand     `cmd:"" help:"Print the module descriptor to post to Okapi at /_/proxy/modules."`
	Deployment descriptorDeploymentCommand `cmd:"" help:"Print the deployment descriptor to post to Okapi at /_/discovery/modules."`
}

type descriptorModuleCommand struct {
	Product gateway.Product `arg:"" enum:"auth,login,both,users-bl" help:"auth: in place of mod-authtoken. login: of mod-login. both: of both. users-bl: and of the login of mod-users-bl."`
}

func (c *descriptorModuleCommand) Run(p *program) error {
	d, err := c.Product.Descriptor(server.Version())
	if err != nil {
		return err
	}
	return p.printJSON(d)
}

type descriptorDeploymentCommand struct {
	Product gateway.Product `arg:"" enum:"auth,login,both,users-bl" help:"As for the module descriptor."`
	URL     string          `help:"Where the program runs, as Okapi reaches it. Without, Okapi starts it on its own node." placeholder:"URL"`
}

func (c *descriptorDeploymentCommand) Run(p *program) error {
	d, err := c.Product.Deployment(server.Version(), c.URL)
	if err != nil {
		return err
	}
	return p.printJSON(d)
}

func (descriptorModuleCommand) Help() string {
	return `Example:

    counterfoil descriptor module both | curl -d @- http://localhost:9130/_/proxy/modules`
}

func (descriptorDeploymentCommand) Help() string {
	return `Example:

    counterfoil descriptor deployment both --url http://10.0.0.7:8081`
}
