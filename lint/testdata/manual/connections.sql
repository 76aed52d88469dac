-- Проверка, что это primary
SELECT
inet_server_addr() as connected_to,
pg_is_in_recovery() as is_replica,
current_user as current_user;
-- Тест записи (должен работать)
CREATE TABLE IF NOT EXISTS aaa_test_connection (id SERIAL, note TEXT);
INSERT INTO test_connection (note) VALUES ('Тест записи через порт 5000');
