package main

// What `counterfoil COMMAND --help` says beyond the flags. Each has an example
// that can be pasted.

func (demoCommand) Help() string {
	return `The demonstration listens on loopback only: its passwords are known to everybody.

    counterfoil demo
    counterfoil demo --access-ttl 20s --grace 2s
    counterfoil demo --tour`
}

func (serveCommand) Help() string {
	return `The first start makes the database and the keys, and prints a code with which
"counterfoil bootstrap" makes the first administrator.

    counterfoil config check --config counterfoil.yaml
    counterfoil serve --config counterfoil.yaml
    counterfoil serve --mode okapi-module --config counterfoil.yaml`
}

func (configCheckCommand) Help() string {
	return `The environment is checked along with the file, as "counterfoil serve" would
read it.

    counterfoil config check --config counterfoil.yaml`
}

func (configReferenceCommand) Help() string {
	return `Example:

    counterfoil config reference > configuration.md`
}

func (bootstrapCommand) Help() string {
	return `The code works once and for a day. The password is asked for, or read from
standard input; it is no argument, because arguments are for everybody to see.

    counterfoil bootstrap --code CODE --tenant diku --username admin`
}

func (tenantListCommand) Help() string {
	return `Example:

    counterfoil tenant list --json`
}

func (tenantCreateCommand) Help() string {
	return `Example:

    counterfoil tenant create diku --name "Datalogisk Institut"`
}

func (tenantDeleteCommand) Help() string {
	return `Example:

    counterfoil tenant delete diku --yes`
}

func (tenantEndCommand) Help() string {
	return `One write, however many sessions there are.

    counterfoil tenant end-sessions diku --yes`
}

func (userListCommand) Help() string {
	return `Example:

    counterfoil user list --tenant diku`
}

func (userCreateCommand) Help() string {
	return `Example:

    counterfoil user create --tenant diku reader --grant orders.collection.get
    counterfoil user create --tenant diku edge --grant orders.all <password.txt`
}

func (userShowCommand) Help() string {
	return `Example:

    counterfoil user show --tenant diku reader`
}

func (userPasswordCommand) Help() string {
	return `Example:

    counterfoil user password --tenant diku reader
    counterfoil user password --tenant diku reader <password.txt`
}

func (userActivateCommand) Help() string {
	return `Example:

    counterfoil user activate --tenant diku reader`
}

func (userDeactivateCommand) Help() string {
	return `Example:

    counterfoil user deactivate --tenant diku reader`
}

func (userGrantCommand) Help() string {
	return `An elevated permission has effect only in a token from /authn/elevate, for five
minutes at most.

    counterfoil user grant --tenant diku reader orders.item.post
    counterfoil user grant --tenant diku reader --elevated orders.collection.delete`
}

func (userUngrantCommand) Help() string {
	return `Example:

    counterfoil user ungrant --tenant diku reader orders.item.post`
}

func (userDeleteCommand) Help() string {
	return `Example:

    counterfoil user delete --tenant diku reader --yes`
}

func (sessionListCommand) Help() string {
	return `Example:

    counterfoil session list --live
    counterfoil session list --tenant diku --user reader`
}

func (sessionShowCommand) Help() string {
	return `Answers "why was I logged out?".

    counterfoil session show b36dea40-eab2-44c1-8cac-c9187b91343b`
}

func (sessionRevokeCommand) Help() string {
	return `The refresh token is refused from now on, and so are the access tokens of the
session, although they have not expired.

    counterfoil session revoke b36dea40-eab2-44c1-8cac-c9187b91343b
    counterfoil session revoke --tenant diku --user reader`
}

func (keyListCommand) Help() string {
	return `Example:

    counterfoil key list`
}

func (keyRotateCommand) Help() string {
	return `A new access key is published for 65 minutes before it signs, so that whoever
keeps a copy of the key set has it by then. With --now it signs at once.

    counterfoil key rotate access`
}

func (keyRetireCommand) Help() string {
	return `A new key takes its place at once.

    counterfoil key retire access KEY`
}

func (keyRemoveCommand) Help() string {
	return `Removing an access key ends access tokens: clients refresh. Removing a refresh
key ends every session that began or was refreshed with it.

    counterfoil key remove access KEY --yes`
}

func (policyListCommand) Help() string {
	return `Example:

    counterfoil policy list`
}

func (policyShowCommand) Help() string {
	return `Example:

    counterfoil policy show --tenant diku
    counterfoil policy show --tenant diku --client folio-web`
}

func (policySetCommand) Help() string {
	return `Other fields of the override stay. What would be unsafe is refused with the
reason; access tokens that live already keep their lifetime or get a shorter one.

    counterfoil policy set --tenant diku access_ttl=5m grace=5s
    counterfoil policy set --tenant diku --client folio-web sessions_per_user=10`
}

func (policyUnsetCommand) Help() string {
	return `Example:

    counterfoil policy unset --tenant diku grace
    counterfoil policy unset --tenant diku --client folio-web`
}

func (storeCopyCommand) Help() string {
	return `Everything goes along: tenants, users, permissions, policies, modules, keys,
sessions and events. Who is logged in stays logged in. Stop all programs on the
source first; start them on the target with the same master key.

The copy is one transaction: it is whole, and was compared, or there is none.
Passwords are no arguments, because those are for everybody to see: set
DB_PASSWORD, or postgres.password_file in a configuration.

    counterfoil store copy --from sqlite:data/counterfoil.db --to postgres://counterfoil@db.example.org/counterfoil
    counterfoil store copy --from postgres://counterfoil@db.example.org/counterfoil --to sqlite:copy/counterfoil.db`
}

func (migrateCommand) Help() string {
	return `"counterfoil serve" does the same at its start. There is no way back: make a copy
of the data directory before.

    counterfoil migrate --config counterfoil.yaml`
}

func (versionCommand) Help() string {
	return `Example:

    counterfoil version --json`
}
