# Обновление системы и установка базовых пакетов
sudo apt update && sudo apt upgrade -y
sudo apt install -y curl wget vim htop net-tools
# Установка PostgreSQL 17
sudo apt install -y postgresql-17 postgresql-client-17 postgresql-server-dev-17
# Останавливаем стандартный PostgreSQL, так как Patroni будет управлять им
sudo systemctl stop postgresql
sudo systemctl disable postgresql
