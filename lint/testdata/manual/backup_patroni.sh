#!/bin/bash
# backup_patroni.sh
# Определяем текущий primary через Patroni
PRIMARY_HOST=$(patronictl -c /etc/patroni/config.yml list -f json |
jq -r '.[] | select(.Role == "Leader") | .Host')
# Создаем точку монтирования для бэкапа
BACKUP_DIR="/backups/$(date +%Y%m%d_%H%M%S)"
mkdir -p $BACKUP_DIR
# Выполняем физический бэкап с primary
pg_basebackup -h $PRIMARY_HOST -U replicator -D $BACKUP_DIR -X stream -P
# Создаем логический бэкап ключевых баз
pg_dump -h $PRIMARY_HOST -U global -Fc global_DB_db > $BACKUP_DIR/global_DB_db.dump
# Очистка старых бэкапов (храним 7 последних)
find /backups -maxdepth 1 -type d -name "202*" | sort -r | tail -n +8 | xargs rm -rf
