package foliotest

// The descriptors have of the originals what the platform serves.

const usersDescriptor = `{
	"id": "mod-users-19.7.0", "name": "users",
	"provides": [
		{"id": "users", "version": "16.4", "handlers": [
			{"methods": ["GET"], "pathPattern": "/users", "permissionsRequired": ["users.collection.get"],
			 "permissionsDesired": ["users.basic-read.execute", "users.restricted-read.execute"]},
			{"methods": ["GET"], "pathPattern": "/users/{id}", "permissionsRequired": ["users.item.get"],
			 "permissionsDesired": ["users.basic-read.execute", "users.restricted-read.execute"]},
			{"methods": ["PUT"], "pathPattern": "/users/{id}", "permissionsRequired": ["users.item.put"]},
			{"methods": ["GET"], "pathPattern": "/groups", "permissionsRequired": ["usergroups.collection.get"]},
			{"methods": ["GET"], "pathPattern": "/groups/{id}", "permissionsRequired": ["usergroups.item.get"]}]},
		{"id": "user-tenants", "version": "1.0", "handlers": [
			{"methods": ["GET"], "pathPattern": "/user-tenants", "permissionsRequired": ["user-tenants.collection.get"]}]}]}`

const permissionsDescriptor = `{
	"id": "mod-permissions-6.5.0", "name": "permissions",
	"provides": [
		{"id": "permissions", "version": "5.8", "handlers": [
			{"methods": ["GET"], "pathPattern": "/perms/users", "permissionsRequired": ["perms.users.get"]},
			{"methods": ["POST"], "pathPattern": "/perms/users", "permissionsRequired": ["perms.users.item.post"]},
			{"methods": ["GET"], "pathPattern": "/perms/users/{id}/permissions", "permissionsRequired": ["perms.users.get"]},
			{"methods": ["GET"], "pathPattern": "/perms/permissions", "permissionsRequired": ["perms.permissions.get"]}]}]}`

const configurationDescriptor = `{
	"id": "mod-configuration-5.11.0", "name": "configuration",
	"provides": [
		{"id": "configuration", "version": "2.0", "handlers": [
			{"methods": ["GET"], "pathPattern": "/configurations/entries", "permissionsRequired": ["configuration.entries.collection.get"]}]}]}`

const servicePointsDescriptor = `{
	"id": "mod-inventory-storage-29.0.0", "name": "Inventory Storage Module",
	"provides": [
		{"id": "service-points", "version": "3.4", "handlers": [
			{"methods": ["GET"], "pathPattern": "/service-points", "permissionsRequired": ["inventory-storage.service-points.collection.get"]}]},
		{"id": "service-points-users", "version": "1.0", "handlers": [
			{"methods": ["GET"], "pathPattern": "/service-points-users", "permissionsRequired": ["inventory-storage.service-points-users.collection.get"]}]}]}`

const usersBLDescriptor = `{
	"id": "mod-users-bl-8.0.0", "name": "users business logic",
	"requires": [{"id": "users", "version": "16.4"}, {"id": "permissions", "version": "5.8"}],
	"provides": [
		{"id": "users-bl", "version": "6.1", "handlers": [
			{"methods": ["POST"], "pathPattern": "/bl-users/login", "permissionsRequired": [],
			 "modulePermissions": ["users.collection.get", "usergroups.item.get", "perms.users.get",
			 "inventory-storage.service-points.collection.get", "inventory-storage.service-points-users.collection.get"]},
			{"methods": ["POST"], "pathPattern": "/bl-users/login-with-expiry", "permissionsRequired": [],
			 "modulePermissions": ["users.collection.get", "usergroups.item.get", "perms.users.get",
			 "inventory-storage.service-points.collection.get", "inventory-storage.service-points-users.collection.get"]},
			{"methods": ["GET"], "pathPattern": "/bl-users/_self", "permissionsRequired": [],
			 "modulePermissions": ["users.collection.get", "usergroups.item.get", "perms.users.get",
			 "inventory-storage.service-points.collection.get", "inventory-storage.service-points-users.collection.get"]}]}]}`
