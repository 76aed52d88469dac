output "machines" {
  description = "The machines and their addresses, which their seeds give them."
  value       = { for name, m in local.machines : name => m.address }
}

output "entry" {
  description = "Where applications connect to write; pgbake connect writes what they need."
  value       = ["10.20.0.21:5000"]
}
