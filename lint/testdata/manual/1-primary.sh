# Создаем пользователя репликации в существующей БД
sudo -u postgres psql -c "CREATE USER replicator WITH REPLICATION LOGIN PASSWORD 'StrongPassword123!';"
# Создаем пользователя приложения если его нет
sudo -u postgres psql -c "CREATE USER global WITH PASSWORD 'globalpass' CREATEDB CREATEROLE LOGIN;"
# Создаем базу данных если ее нет
sudo -u postgres psql -c "CREATE DATABASE replicatest OWNER global;"
# Останавливаем PostgreSQL для подготовки
sudo systemctl stop postgresql
# Настраиваем параметры репликации в postgresql.conf
sudo sed -i "s/#wal_level = replica/wal_level = replica/" /etc/postgresql/17/main/postgresql.conf
sudo sed -i "s/#max_wal_senders = 10/max_wal_senders = 20/" /etc/postgresql/17/main/postgresql.conf
sudo sed -i "s/#max_replication_slots = 10/max_replication_slots = 20/" /etc/postgresql/17/main/postgresql.conf
sudo sed -i "s/#hot_standby = on/hot_standby = on/" /etc/postgresql/17/main/postgresql.conf
# Добавляем синхронную репликацию
echo "synchronous_commit = remote_apply" | sudo tee -a /etc/postgresql/17/main/postgresql.conf
echo "synchronous_standby_names = 'ANY 1 (replica1, replica2)'" | sudo tee -a /etc/postgresql/17/main/postgresql.conf
# Настраиваем pg_hba.conf для репликации
sudo tee -a /etc/postgresql/17/main/pg_hba.conf > /dev/null << EOF
# Local connections
host all postgres 127.0.0.1/32 trust
# TYPE DATABASE USER ADDRESS METHOD
# Разрешить подключения от HAProxy/сервера приложений к основной базе и репликам для приложения
host replicatest global 192.168.184.129/32 scram-sha-256
host all all all scram-sha-256
EOF
# Перезапускаем PostgreSQL для применения настроек
sudo systemctl start postgresql
